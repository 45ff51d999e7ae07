"""One recipe on its way to its report: how many files have it in their hands."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.recipe_walk import SHORT, visited

RECIPE = Path(__file__).parents[1] / "examples" / "recipe.yaml"


def test_a_recipe_visits_at_most_twenty_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = visited(RECIPE, SHORT, tmp_path / "run")
    assert (tmp_path / "run" / "report.html").is_file(), "it went all the way"
    assert {"recipe/recipe.py", "modalities/images/job.py", "run/session.py"} <= found.keys()
    assert len(found) <= 20, "\n".join(found)
