"""How a model sees rows of a table: fitted on those for training, kept beside the weights, asked for new ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.data.text_file import Table, short
from unweave.errors import ConfigurationError
from unweave.modalities._base import Rows
from unweave.modalities.records.cells import ABSENT, CLASSES, almost, column, numbers_of
from unweave.store import atomically, model_in

FILE = "encoding.json"
ROUNDED = 1e-12  # of the mean: a spread that is rounding alone
MOST = 200  # values of a category: more are ids, or free text


@dataclass(frozen=True)
class Column:
    """What of one column the model reads.

    Attributes:
        name: in the table.
        mean, spread: a number x is read as `(x - mean) / spread`, a missing one as 0.
        missing: whether a second feature says that a number is missing.
        values: of a category, one feature each, 1 where the cell is that value; another value is none of them. None of
            numbers.
    """

    name: str
    mean: float = 0.0
    spread: float = 1.0
    missing: bool = False
    values: tuple[str, ...] | None = None

    @classmethod
    def fitted(cls, name: str, cells: Sequence[Any], train: Rows, category: bool) -> Column:
        """By the rows for training.

        Raises:
            ConfigurationError: infinite numbers, cells that are nearly all numbers, or ids and free text.
        """
        numbers = None if category else numbers_of(cells)
        if numbers is not None:
            _check_finite(name, numbers)
            gone = np.isnan(numbers)
            known = numbers[train][~gone[train]]
            mean, std = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
            spread = std if std > ROUNDED * abs(mean) else 1.0  # of equal numbers it is not always 0
            return cls(name, mean, spread, bool(gone[train].any()))
        values = np.unique(_texts(cells)[train]).tolist()
        if not category and (wrong := almost(cells, len(values))):
            raise ConfigurationError(f"column {name!r} {wrong}")
        if len(values) > MOST or (len(values) > CLASSES and 2 * len(values) >= len(train)):
            raise ConfigurationError(
                f"column {name!r} has {len(values)} different values, such as {short(values[-1])}: ids or free text "
                "are no categories. Leave it out (data.drop), or name it as data.user"
            )
        return cls(name, values=tuple(values))

    def features(self, cells: Sequence[Any]) -> list[np.ndarray]:
        """The features that cells become, `[n]` each.

        Raises:
            ConfigurationError: a cell is no number where numbers were trained on, or it is infinite.
        """
        if self.values is not None:
            texts = _texts(cells)
            return [(texts == value).astype(np.float64) for value in self.values]
        numbers = numbers_of([None if str(cell).lower() in ABSENT else cell for cell in cells])
        if numbers is None:
            raise ConfigurationError(f"column {self.name!r} must hold numbers, as in the rows that were trained on")
        _check_finite(self.name, numbers)
        gone = np.isnan(numbers)
        scaled = np.where(gone, 0.0, (numbers - self.mean) / self.spread)
        return [scaled, gone.astype(np.float64)] if self.missing else [scaled]


@dataclass(frozen=True)
class Encoding:
    """How a model sees a table, and what its outputs stand for.

    Attributes:
        columns: that it reads, in this order.
        targets: columns that it predicts.
        classes: what its outputs stand for, of a classification.
        hidden: hidden layers of the small network; None where a factory makes the model.
    """

    columns: tuple[Column, ...]
    targets: tuple[str, ...]
    classes: tuple[str, ...] = ()
    hidden: tuple[int, ...] | None = None

    @property
    def inputs(self) -> int:
        """Features of a row."""
        return sum(1 + each.missing if each.values is None else len(each.values) for each in self.columns)

    def rows(self, table: Table) -> Tensor:
        """Rows of a table (`data.text_file.read_file`) as the model sees them, `[n, inputs]` float32.

        Raises:
            ConfigurationError: a column is missing, or its cells cannot be what they were in training.
        """
        names = {name for row in table for name in row}
        if missing := [each.name for each in self.columns if each.name not in names]:
            raise ConfigurationError(f"the table must have the columns that the model reads; {missing[0]!r} is missing")
        found = [part for each in self.columns for part in each.features(column(table, each.name))]
        return torch.tensor(np.stack(found, axis=1), dtype=torch.float32)

    def save(self, folder: Path) -> None:
        """Writes it beside the weights."""
        atomically(folder / FILE, json.dumps(asdict(self), indent=1, ensure_ascii=False).encode())

    @classmethod
    def read(cls, folder: str | Path) -> Encoding:
        """Of a run's folder, or of the model's in it.

        Raises:
            ConfigurationError: there is none.
        """
        file = model_in(Path(folder)) / FILE
        try:
            found = json.loads(file.read_bytes())
            columns = [Column(**each | {"values": _tuple(each["values"])}) for each in found["columns"]]
            hidden = _tuple(found["hidden"])
            return cls(tuple(columns), tuple(found["targets"]), tuple(found["classes"]), hidden)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"{file}: expected how a model of a table reads its rows, as unweave run writes it: {error}"
            ) from error


def _tuple(value: Any) -> Any:
    return None if value is None else tuple(value)


def _texts(cells: Sequence[Any]) -> np.ndarray:
    return np.asarray(["" if cell is None else str(cell) for cell in cells])


def _check_finite(name: str, numbers: np.ndarray) -> None:
    if np.isinf(numbers).any():
        raise ConfigurationError(f"column {name!r} holds infinity in row {int(np.isinf(numbers).argmax())}")
