"""A deletion request, and which records it names: classes, or rows of the training set, by number or by id."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from numbers import Integral
from pathlib import Path
from typing import Any

from unweave.data.index_file import read_ids, read_rows, rows_of
from unweave.data.text_file import parse_json, read_file, read_text
from unweave.errors import ConfigurationError, suggest
from unweave.ledger.chain import fault_of_line
from unweave.ledger.files import Key

_MOST = 2**63 - 1


@dataclass(frozen=True)
class Selector:
    """Exactly one of both.

    Args:
        classes: all records of these, numbers or names.
        rows: numbers of rows of the training set, in the order in which the recipe's data source has them.
        ids: by how many ids the rows were given; an id may name several. None: by their numbers.
        among: the ids of all records that the rows were found among, in their order; none: by their numbers.

    Raises:
        ConfigurationError: it names nothing, a row twice, both, or what is no class and no row.
    """

    classes: tuple[int | str, ...] = ()
    rows: tuple[int, ...] = ()
    ids: int | None = None
    among: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        classes, rows = _several("classes", self.classes), _several("rows", self.rows)
        if bool(classes) == bool(rows):
            found = "both" if rows else "neither: it names no record"
            raise ConfigurationError(f"a request names records by class or by row, found {found}")
        if faults := [*filter(None, map(_of_class, classes)), *_of_rows(rows)]:
            raise ConfigurationError(faults)
        object.__setattr__(self, "classes", tuple(each if isinstance(each, str) else int(each) for each in classes))
        object.__setattr__(self, "rows", tuple(map(int, rows)))


def _several(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ConfigurationError(f"{name}: expected several, as a tuple, found {type(values).__name__} {values!r:.40}")
    return tuple(values)


def _of_class(name: Any) -> str:
    """What is wrong with a class; nothing, if it is one."""
    if isinstance(name, str):
        return (
            fault_of_line("class", name) if name.strip() else "class: expected a number or a name, found an empty one"
        )
    if isinstance(name, Integral) and not isinstance(name, bool) and 0 <= int(name) <= _MOST:
        return ""
    return f"class: expected a number from 0 on or a name, found {type(name).__name__} {name!r:.40}"


def _of_rows(rows: Sequence[Any]) -> Iterator[str]:
    if strange := [row for row in rows if not isinstance(row, Integral) or isinstance(row, bool)]:
        yield f"rows are whole numbers, found {type(strange[0]).__name__} {strange[0]!r:.40}"
        return
    if twice := len(rows) - len(set(rows)):
        yield f"a request must name each row once, found {twice} named again"
    if rows and min(rows) < 0:
        yield f"rows are counted from 0, found {min(rows)}"
    if rows and max(rows) > _MOST:
        yield "no training set has so many rows: found a row number of more than 63 bits"


def by_class(names: Sequence[str]) -> Selector:
    """All records of the classes; a number is a class number."""
    return Selector(classes=tuple(int(name) if _number(name) else name for name in names))


def by_rows(path: Path) -> Selector:
    """The row numbers in a file: .txt, .csv, .json or .npy.

    Raises:
        ConfigurationError: it cannot be read, or names nothing.
    """
    return Selector(rows=tuple(read_rows(path).tolist()))


def by_ids(path: Path, of: Path, column: str | None = None) -> Selector:
    """The rows of the records whose ids are in a file; the ids themselves are not kept.

    Args:
        path: ids to forget: .txt, .csv or .json.
        of: the ids of all training records, in the order of the rows; or the texts themselves, .jsonl, .parquet, or
            .csv with a column `id`. An id that comes several times there, as a person's does, names all of its rows.
        column: of that table, which holds the ids: a recipe's `data.user`; None: `id`.

    Raises:
        ConfigurationError: a file cannot be read, names nothing or an id twice, or an id is not in the training set.
    """
    wanted, every = read_ids(path), _column(of, column) if column else _ids_in(of) or read_ids(of)
    rows = rows_of(every)
    faults = []
    if len(set(wanted)) < len(wanted):
        faults.append(f"{path} must name each id once, found {len(wanted) - len(set(wanted))} ids named again")
    if missing := [name for name in wanted if name not in rows]:
        few = ", ".join(missing[:5]) + (", ..." if missing[5:] else "")
        faults.append(f"{path}: {len(missing)} of {len(wanted)} ids are not in {of} ({few}): no such records to forget")
    if faults:
        raise ConfigurationError(faults)
    return Selector(rows=tuple(row for name in wanted for row in rows[name]), ids=len(wanted), among=tuple(every))


def _column(path: Path, name: str) -> list[str]:
    """The cells of a table's column, as text."""
    table = read_file(path)
    known = dict.fromkeys(key for row in table for key in row)
    if name not in known:
        raise ConfigurationError(f"{path} has no column {name!r}.{suggest(name, known)} There are: {', '.join(known)}")
    if gone := [number for number, row in enumerate(table) if row.get(name) in (None, "")]:
        raise ConfigurationError(f"{path}: column {name!r}: row {gone[0]} has no id, and {len(gone) - 1} others")
    return [str(row[name]).strip() for row in table]


def _number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 19


def _ids_in(path: Path) -> list[str]:
    """What a recipe calls the rows of a table of texts, their numbers where they have no `id`; none in other files."""
    if path.suffix not in (".jsonl", ".parquet", ".csv") or not path.is_file():
        return []
    table = read_file(path)
    if path.suffix == ".csv" and not (table and "id" in table[0]):
        return []  # of ids alone
    given = {str(row["id"]) for row in table if row.get("id") is not None}
    if strange := [n for n, row in enumerate(table) if row.get("id") is None and str(n) in given]:
        raise ConfigurationError(f"{path}: row {strange[0]} has no id, and its number is that of another: give it one")
    return [str(number if row.get("id") is None else row["id"]) for number, row in enumerate(table)]


def read_kept(path: Path, key: Key, name: str, hmac: str) -> tuple[int, ...]:
    """The row numbers that the ledger kept for a request or a batch.

    Raises:
        ConfigurationError: the file is gone, is not one of row numbers, or holds others than were recorded.
    """
    try:
        rows = parse_json(read_text(path))
        if not all(type(row) is int for row in rows):
            raise ValueError("not a list of whole numbers")
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{path}: expected the rows that were recorded, and cannot read it: {error}") from None
    if key.rows(name, rows) != hmac:
        raise ConfigurationError(f"{path}: expected the rows as they were recorded, found others")
    return tuple(rows)


DAYS = 30  # from the day on which a request was received to its due date, unless the request says otherwise
FIRST = date(1970, 1, 1)
YEARS = 1000  # between both, at most
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Deletion:
    """A deletion request.

    Args:
        id: a case number, never a name: letters, digits, '.', '_', '-', 64 at most.
        selector: the records.
        received: when it came, from 1970 on; None: today.
        due: until when it has to be answered, within 1000 years; None: `DAYS` later.
        basis: on what grounds it is made, in one line.
        note: anything else, in one line. It stays for good: nothing personal belongs in it.

    Raises:
        ConfigurationError: an id of another form, days that are none or too far apart, a due date before it was
            received, words of more than one line or that are no text; all faults at once.
    """

    id: str
    selector: Selector
    received: date | None = None
    due: date | None = None
    basis: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.id, str) and _ID.fullmatch(self.id)):
            asked = f"request {self.id!r:.80}"
            faults = [f"{asked}: expected an id of letters, digits, '.', '_', '-', at most 64 of them"]
        else:
            asked, faults = f"request {self.id}", []
        if not isinstance(self.selector, Selector):
            faults.append(f"{asked}: expected a Selector, found {type(self.selector).__name__}")
        faults += [f"{asked}: {fault}" for fault in (*_of_days(self.received, self.due), *self._of_words()) if fault]
        if faults:
            raise ConfigurationError(faults)

    @property
    def dates(self) -> tuple[date, date]:
        """When it was received and when it is due."""
        begin = self.received or datetime.now(UTC).date()
        return begin, self.due or begin + timedelta(days=DAYS)

    def _of_words(self) -> tuple[str, str]:
        return fault_of_line("basis", self.basis), fault_of_line("note", self.note)


def _of_days(received: date | None, due: date | None) -> Iterator[str]:
    """What is wrong with both days."""
    for name, day in (("received", received), ("due", due)):
        if day is not None and type(day) is not date:
            yield f"{name}: expected a date, found {type(day).__name__} {day!r:.40}"
            return
    begin = received or datetime.now(UTC).date()
    if begin < FIRST:
        yield f"received: expected a day from {FIRST} on, found {begin}"
    elif due is None and begin > date.max - timedelta(days=DAYS):
        yield f"received: on {begin}, and no calendar has a day {DAYS} days later: give another one"
    elif due is not None and due < begin:
        yield f"it is due on {due}, before it was received on {begin}"
    elif due is not None and (due - begin).days > YEARS * 366:
        yield f"it is due on {due}, more than {YEARS} years after it was received on {begin}: is the year right?"
