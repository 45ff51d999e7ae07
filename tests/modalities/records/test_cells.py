"""Cells as tables hold them: numbers that are missing in words, with a comma, beside text; ids that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.modalities.records._tables import RECIPE, written
from unweave.errors import ConfigurationError
from unweave.modalities import job, read
from unweave.modalities.records.job import RecordsJob

Change = Callable[[list[str]], object]
CELLS = ("customer", "age", "income", "city", "plan", "left", "spend", "set")


def opened(folder: Path, column: str, cell: Change, *overrides: str) -> RecordsJob:
    """The job of the table in which the cells of a column were changed."""
    recipe, place = written(folder), CELLS.index(column)
    head, *lines = (folder / "customers.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    for number, row in enumerate(rows):
        row[place] = str(cell([str(number), *row]))
    (folder / "customers.csv").write_text("\n".join([head, *(",".join(row) for row in rows)]) + "\n")
    found = job(read(recipe, list(overrides)))
    assert isinstance(found, RecordsJob)
    return found


def inputs(found: RecordsJob) -> torch.Tensor:
    return found.source.records.batch(np.arange(len(found.source.records)))[0]


@pytest.mark.parametrize("word", ["NA", "null", "N/A", "nan"])
def test_a_number_that_is_missing_in_a_word_is_missing(tmp_path: Path, word: str) -> None:
    (tmp_path / "a").mkdir()
    before = inputs(opened(tmp_path / "a", "income", lambda row: row[3]))
    assert before.equal(inputs(opened(tmp_path, "income", lambda row: row[3] or word)))


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        (
            "age",
            lambda row: f'"{row[2]}"'.replace(".", ";") if row[0] == "3" else row[2],
            "in 1 of 240 rows, something",
        ),
        ("customer", lambda row: "nan" if row[0] == "7" else row[1], "1 say nothing (first: row 7)"),
    ],
)
def test_what_was_not_meant_so(tmp_path: Path, column: str, cell: Change, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        opened(tmp_path, column, cell)
    assert said in str(caught.value)


def test_an_amount_that_is_the_same_everywhere_is_told(tmp_path: Path) -> None:
    overrides = ("data.target=spend", "data.drop=[set, left]", "task=regression")
    with pytest.raises(ConfigurationError, match=r"column 'spend' .data.target. holds one number in all rows"):
        opened(tmp_path, "spend", lambda _: 0.5, *overrides)


@pytest.mark.parametrize("target", ["left", "income"])
def test_a_decimal_comma_is_told(tmp_path: Path, target: str) -> None:
    """Read as text it is a class, or a category, for each number."""
    recipe = written(tmp_path, RECIPE.replace("target: left", f"target: {target}"))
    rows = [f"C{row // 2:03d};{row % 7},{row % 3};{'yes' if row % 2 else 'no'}" for row in range(240)]
    (tmp_path / "customers.csv").write_text("\n".join(["customer;income;left", *rows]) + "\n")
    with pytest.raises(
        ConfigurationError, match=r"column 'income'.* holds numbers with a decimal comma, such as '0,0'"
    ):
        job(read(recipe, ["data.drop=[]", "data.categories=[]"]))


def test_a_column_that_is_constant_but_for_rounding_is_constant(tmp_path: Path) -> None:
    """0.1 in every row for training has a spread of 1e-17, and 0.2 in the holdout is not 1e16."""
    found = opened(tmp_path, "spend", lambda row: 0.2 if row[8] == "holdout" else 0.1, "data={source: csv, path: "
                   "customers.csv, target: left, user: customer, split: set}")  # fmt: skip
    assert inputs(found).abs().max() < 100


def test_inputs_that_only_forgotten_rows_have_are_told(tmp_path: Path) -> None:
    found = opened(tmp_path, "city", lambda row: "Thun" if row[1] in ("C000", "C001") else row[4])
    assert any(
        "1 of " in note and "inputs of the network differ in rows to forget alone" in note for note in found.notes
    )
    (tmp_path / "b").mkdir()
    assert not any("inputs" in note for note in opened(tmp_path / "b", "city", lambda row: row[4]).notes)


def test_classes_that_differ_in_how_they_are_written_are_told(tmp_path: Path) -> None:
    """One answer in two spellings is two classes, and nothing that is measured shows it."""
    found = opened(tmp_path, "left", lambda row: "No" if row[0] == "3" else f"{row[6]} " if row[0] == "5" else row[6])
    assert found.source.outputs == 3, "spaces around a cell are none of it"
    assert any("'No' and 'no' are 2 classes here" in note for note in found.notes)
    (tmp_path / "b").mkdir()
    assert not any("classes here" in note for note in opened(tmp_path / "b", "left", lambda row: row[6]).notes)
