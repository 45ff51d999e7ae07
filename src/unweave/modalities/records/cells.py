"""The cells of a column: what is there, and which of it are numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from unweave.data.text_file import Table, short

NOBODY = {"", "nan", "NaN", "None", "<NA>", "NaT"}  # what a column of ids holds where somebody wrote none of it as text
ABSENT = {"na", "n/a", "nan", "null", "none", "<na>"}  # what stands among numbers where there is none
CLASSES = 20  # different whole numbers that are still taken for classes


def column(table: Table, name: str) -> list[Any]:
    """The values of a column; None where there is none."""
    found = [row.get(name) for row in table]
    cells = (value.strip() if isinstance(value, str) else value for value in found)
    return [None if cell == "" or (isinstance(cell, float) and math.isnan(cell)) else cell for cell in cells]


def number(cell: Any) -> float | None:
    """A cell as a number; None if it is none."""
    try:
        return float(cell) if isinstance(cell, (int, float, str)) else None
    except (ValueError, OverflowError):
        return None


def numbers_of(cells: Sequence[Any]) -> np.ndarray | None:
    """All cells as numbers, NaN where there is none; None where one is something else."""
    gone = [cell is None or str(cell).lower() in ABSENT for cell in cells]
    found = [math.nan if none else number(cell) for none, cell in zip(gone, cells, strict=True)]
    if None in found or (all(gone) and any(cell is not None for cell in cells)):
        return None
    return np.asarray(found, dtype=np.float64)


def almost(cells: Sequence[Any], values: int) -> str:
    """What is wrong with a column of so many values that are not all numbers, if it was meant to be; else nothing."""
    there = [cell for cell in cells if cell is not None]
    odd = [cell for cell in there if number(cell) is None]
    if odd and all(isinstance(cell, str) and number(cell.replace(",", ".", 1)) is not None for cell in odd):
        return f"holds numbers with a decimal comma, such as {short(odd[0])}: write a point"
    if values > CLASSES and odd and 2 * len(odd) < len(there):
        return (
            f"holds numbers and, in {len(odd)} of {len(there)} rows, something else, such as {short(odd[0])}: leave "
            "these cells empty where there is no number, or name the column in data.categories"
        )
    return ""
