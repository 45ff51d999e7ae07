"""The programs of the gallery: each runs within seconds, says what it did, and ends with a contract that is met."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from unweave.contract import overall
from unweave.ledger.batch import Outcome

GALLERY = sorted((Path(__file__).parents[1] / "examples" / "gallery").glob("*.py"))


def met(result: Any) -> bool:
    """Of the call from Python, of a recipe's run, or of a ledger's."""
    if isinstance(result, dict):
        return overall(result["contract"]) == "met"
    return bool(result.met if isinstance(result, Outcome) else result.contract.met)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # lightning asks torch in the old way
@pytest.mark.parametrize("program", GALLERY, ids=lambda path: path.stem)
def test_a_program_runs(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("transformers", "lightning"):
        if f"import {package}" in (code := program.read_text()) or f"from {package}" in code:
            pytest.importorskip(package)
    names = runpy.run_path(str(program), run_name="__main__")
    told = capsys.readouterr().out
    assert met(names["result"]), told
    assert "contract met" in told


def test_the_gallery_is_there_and_each_program_is_short() -> None:
    assert GALLERY and not [path.name for path in GALLERY if len(path.read_text().splitlines()) >= 60]
