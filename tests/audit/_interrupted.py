"""Evidence by the command, and one that Ctrl-C ends in the middle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unweave.audit import work
from unweave.audit.experiment import Experiment
from unweave.cli import main

PIECES = 5  # that are done before Ctrl-C: the originals, the retrained models, and one of two that unlearn


def command(*arguments: object) -> int:
    """The exit code of `unweave`."""
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return int(caught.value.code or 0)


def interrupted(recipe: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves in the folder what evidence had found when Ctrl-C came."""
    real, done = work.do, list[work.Piece]()

    def some(world: Experiment, piece: work.Piece) -> Any:
        if len(done) == PIECES:
            raise KeyboardInterrupt
        done.append(piece)
        return real(world, piece)

    with monkeypatch.context() as patched:
        patched.setattr(work, "do", some)
        assert command("evidence", recipe, "-o", folder, "--workers", 1) == 130
    assert json.loads((folder / "evidence.json").read_text())["status"] == "running"
