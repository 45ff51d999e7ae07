"""The programs of the gallery: each runs within seconds, says what it did, and ends with a contract that is met."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

GALLERY = sorted((Path(__file__).parents[1] / "examples" / "gallery").glob("*.py"))


@pytest.mark.parametrize("program", GALLERY, ids=lambda path: path.stem)
def test_a_program_runs(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "transformers" in program.read_text():
        pytest.importorskip("transformers")
    names = runpy.run_path(str(program), run_name="__main__")
    assert names["result"].contract.met, str(names["result"].contract)
    assert "contract met" in capsys.readouterr().out


def test_the_gallery_is_there_and_each_program_is_short() -> None:
    assert len(GALLERY) >= 9
    assert not [path.name for path in GALLERY if len(path.read_text().splitlines()) >= 60]
