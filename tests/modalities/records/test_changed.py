"""A table, or a factory's data, that is another one when a model of it is opened again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.modalities.records._tables import command, written

pytestmark = pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
Told = pytest.CaptureFixture[str]
SHORT = ("-s", "run.steps=2", "-s", "evaluation.retrained=0", "-s", "training.epochs=2")


def without(table: Path, ids: tuple[str, ...]) -> None:
    """The table when the rows of people were deleted."""
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith(ids)) + "\n")


def test_a_model_is_not_opened_on_another_table(tmp_path: Path, capsys: Told) -> None:
    """Means, spreads and a holdout that is drawn would be others: the model would be given other numbers, and would
    have been trained on people that count as unseen."""
    recipe, first = written(tmp_path), tmp_path / "first"
    assert command("run", recipe, "-o", first, *SHORT) in (0, 3)
    then = ("-s", f"model.weights={first}", "-s", "forget.where={customer: [C020, C021, C022]}")
    assert command("run", recipe, "-o", tmp_path / "same", *SHORT, *then) in (0, 3), capsys.readouterr().err
    without(tmp_path / "customers.csv", ("C000", "C001"))
    capsys.readouterr()
    assert command("run", recipe, "-o", tmp_path / "then", *SHORT, *then) == 2
    assert "another training set" in " ".join(capsys.readouterr().err.split())
    assert command("evaluate", first, "-s", "forget.where={customer: [C004, C005]}") == 2
    assert "another training set" in " ".join(capsys.readouterr().err.split())
