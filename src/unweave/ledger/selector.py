"""Which records a request names: classes, or rows of the training set, given by number or by id."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unweave.data.index_file import read_ids, read_rows
from unweave.errors import ConfigurationError
from unweave.ledger.key import Key


@dataclass(frozen=True)
class Selector:
    """Exactly one of both.

    Args:
        classes: all records of these, numbers or names.
        rows: numbers of rows of the training set, in the order in which the recipe's data source has them.

    Raises:
        ConfigurationError: it names nothing, a row twice, or both.
    """

    classes: tuple[int | str, ...] = ()
    rows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.classes) == bool(self.rows):
            found = "both" if self.rows else "neither: it names no record"
            raise ConfigurationError(f"a request names records by class or by row, found {found}")
        if twice := len(self.rows) - len(set(self.rows)):
            raise ConfigurationError(f"a request must name each row once, found {twice} named again")
        if self.rows and min(self.rows) < 0:
            raise ConfigurationError(f"rows are counted from 0, found {min(self.rows)}")


def by_class(names: Sequence[str]) -> Selector:
    """All records of the classes; a number is a class number."""
    return Selector(classes=tuple(int(name) if name.isdecimal() else name for name in names))


def by_rows(path: Path) -> Selector:
    """The row numbers in a file: .txt, .csv, .json or .npy.

    Raises:
        ConfigurationError: it cannot be read, or names nothing.
    """
    rows = read_rows(path)
    if not len(rows):
        raise ConfigurationError(f"{path} names no record: expected at least one row number, found 0")
    return Selector(rows=tuple(rows.tolist()))


def by_ids(path: Path, of: Path) -> Selector:
    """The rows of the records whose ids are in a file; the ids themselves are not kept.

    Args:
        path: ids to forget: .txt, .csv or .json.
        of: the ids of all training records, in the order of the rows; or the texts themselves, .jsonl, .parquet, or
            .csv with a column `id`.

    Raises:
        ConfigurationError: a file cannot be read, names nothing or an id twice, or an id is not in the training set.
    """
    wanted, every = read_ids(path), _ids_in(of) or read_ids(of)
    if not wanted:
        raise ConfigurationError(f"{path} names no record: expected at least one id, found 0")
    row = {name: number for number, name in enumerate(every)}
    faults = []
    if len(row) < len(every):
        faults.append(f"{of} must name each record once, found {len(every) - len(row)} ids named again")
    if len(set(wanted)) < len(wanted):
        faults.append(f"{path} must name each record once, found {len(wanted) - len(set(wanted))} ids named again")
    if missing := [name for name in wanted if name not in row]:
        few = ", ".join(missing[:5]) + (", ..." if missing[5:] else "")
        faults.append(f"{path}: {len(missing)} of {len(wanted)} ids are not in {of} ({few}): no such records to forget")
    if faults:
        raise ConfigurationError(faults)
    return Selector(rows=tuple(row[name] for name in wanted))


def _ids_in(path: Path) -> list[str]:
    """What a recipe calls the rows of a table of texts, their numbers where they have no `id`; none in other files."""
    from unweave.data.text.sources import read_file

    if path.suffix not in (".jsonl", ".parquet", ".csv") or not path.is_file():
        return []
    table = read_file(path)
    if path.suffix == ".csv" and not (table and "id" in table[0]):
        return []  # of ids alone
    return [str(number if row.get("id") is None else row["id"]) for number, row in enumerate(table)]


def read_kept(path: Path, key: Key, name: str, hmac: str) -> tuple[int, ...]:
    """The row numbers that the ledger kept for a request or a batch.

    Raises:
        ConfigurationError: the file is gone, is not one of row numbers, or holds others than were recorded.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not all(type(row) is int for row in rows):
            raise ValueError("not a list of whole numbers")
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{path}: expected the rows that were recorded, and cannot read it: {error}") from None
    if key.rows(name, rows) != hmac:
        raise ConfigurationError(f"{path}: expected the rows as they were recorded, found others")
    return tuple(rows)
