"""Loggers that a recipe names: written beside the run, also of one that is resumed, and free to change."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.callbacks.test_loggers import curves
from unweave.errors import UnsupportedError
from unweave.modalities import read
from unweave.run.runner import run

Write = Callable[..., Path]


def test_tensorboard_of_a_recipe_goes_on_where_the_run_does(recipe: Write, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")

    def interrupt(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("unlearning", 2):
            os.kill(os.getpid(), signal.SIGINT)

    plain = read(recipe(), [])
    folder = tmp_path / "out"
    first = run(plain, folder, watch=interrupt)
    assert (first["status"], first["steps"]) == ("interrupted", 2) and not (folder / "tensorboard").exists()
    second = run(read(recipe(), ["run.callbacks=[tensorboard]"]), folder, resume=True)
    found = curves(folder / "tensorboard")
    assert second["steps"] == 4 and list(found["unweave/retain_objective"]) == [3, 4]
    again = run(read(recipe(), ["run.callbacks=[tensorboard]"]), folder, overwrite=True)
    assert again["steps"] == 4 and list(curves(folder / "tensorboard")["unweave/lr"]) == [1, 2, 3, 4]


def test_a_package_that_is_not_there_is_named_before_anything_is_done(
    recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    phases: list[str] = []
    with pytest.raises(UnsupportedError, match="pip install wandb"):
        run(read(recipe(), ["run.callbacks=[wandb]"]), tmp_path / "out", watch=lambda *told: phases.append(told[0]))
    assert phases == [] and not (tmp_path / "out").exists()
