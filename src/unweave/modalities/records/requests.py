"""Which rows a request names: by person, by what columns hold, by number, or at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unweave.data.index_file import read_ids, read_rows
from unweave.data.splits import by_index, by_person, by_random_fraction
from unweave.errors import ConfigurationError, suggest
from unweave.modalities._base import Rows
from unweave.modalities.records.recipe import RecordsForget
from unweave.modalities.records.tables import Source

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Asked:
    """One request.

    Attributes:
        text: it in words.
        rows: of the training rows, those that it names.
        alike: rows of any set that are like these, where the request says what they have in common; None elsewhere.
        notes: what the user has to know.
    """

    text: str
    rows: Rows
    alike: Rows | None = None
    notes: tuple[str, ...] = ()


def asked(wanted: RecordsForget, source: Source) -> Asked:
    """The rows of a request, those that no model is trained on left out.

    Raises:
        ConfigurationError: a person, a column or a value that is not there, or nobody the model was trained on.
    """
    alike: Rows | None = None
    if wanted.ids is not None:
        ids = read_ids(wanted.ids)
        named = _of_people(ids, source, str(wanted.ids))
        text = f"the people in {wanted.ids.name}"
    elif wanted.where is not None:
        named, people = _where(wanted, source)
        alike = None if people else named
        text = "" if people else " and ".join(f"{name} {_listed(cells)}" for name, cells in _cells(wanted).items())
    elif wanted.indices is not None:
        named, text = (
            by_index(read_rows(wanted.indices), len(source.records)).forget,
            f"the rows in {wanted.indices.name}",
        )
    else:
        return _random(wanted, source)
    rows = np.intersect1d(named, source.seen)
    if not len(rows):
        raise ConfigurationError(
            f"forget: {len(named)} records are named, and all of them are in the holdout or the test set: no model is "
            "trained on them, and there is nothing to forget"
        )
    notes = tuple[str, ...]()
    if left := len(named) - len(rows):
        notes = (
            f"forget: {left} of {len(named)} records that are named are in the holdout or the test set: no model is "
            "trained on them, and they are left out.",
        )
    return Asked(_counted(text, rows, source), rows, alike, notes)


def _random(wanted: RecordsForget, source: Source) -> Asked:
    assert wanted.random is not None, "the recipe holds exactly one of them"
    share, seen = 100 * wanted.random, source.seen
    if source.people is None:
        rows = seen[by_random_fraction(len(seen), wanted.random, wanted.seed).forget]
        return Asked(f"a random {share:g} % of the training set", rows)
    every = np.unique(source.people[seen])
    chosen = every[by_random_fraction(len(every), wanted.random, wanted.seed).forget]
    rows = seen[np.isin(source.people[seen], chosen)]
    return Asked(_counted(f"a random {share:g} % of the people", rows, source), rows)


def _counted(text: str, rows: Rows, source: Source) -> str:
    """With the numbers of people and rows, where it is known whose they are."""
    if source.people is None:
        return text
    people = len(np.unique(source.people[rows]))
    numbers = f"{people} {'person' if people == 1 else 'people'}, {len(rows)} {'row' if len(rows) == 1 else 'rows'}"
    return f"{text}: {numbers}" if text else numbers


def _cells(wanted: RecordsForget) -> dict[str, list[str]]:
    """The values of each column of `where`, as text."""
    found = {}
    for name, value in (wanted.where or {}).items():
        cells = value if isinstance(value, tuple) else (value,)
        found[name] = [str(cell) for cell in cells]
    return found


def _where(wanted: RecordsForget, source: Source) -> tuple[Rows, bool]:
    """The rows that have one of the values in every column; and whether it is about people alone."""
    cells = _cells(wanted)
    if list(cells) == [source.user] and source.people is not None:
        return _of_people(cells[source.user], source, "forget.where"), True
    columns = list(dict.fromkeys(name for row in source.rows for name in row)) or [source.user]
    faults, kept = list[str](), np.ones(len(source.records), dtype=bool)
    for name, values in cells.items():
        if name not in columns:
            more = "" if source.rows else ", and a factory's records have people alone"
            faults.append(f"forget.where: no column is named {name!r}{more}.{suggest(name, columns)}")
            continue
        if not source.rows:
            raise ConfigurationError("forget.where: nobody says whose the records are: let the factory return 'people'")
        column = np.asarray(["" if row.get(name) is None else str(row[name]).strip() for row in source.rows])
        there = set(column.tolist())
        faults += [
            f"forget.where: no row has {value!r} in column {name!r}.{suggest(value, sorted(there)[:1000])}"
            for value in values
            if value not in there
        ]
        kept &= np.isin(column, values)
    if faults:
        raise ConfigurationError(faults)
    if not kept.any():
        raise ConfigurationError("forget.where: no row has all of these values")
    return np.flatnonzero(kept), False


def _of_people(ids: list[str], source: Source, told: str) -> Rows:
    """All rows of these people.

    Raises:
        ConfigurationError: nobody says whose the rows are, an id twice, or one that no row has.
    """
    if source.people is None:
        raise ConfigurationError(
            f"{told}: nobody says whose the records are: name the column in data.user (a factory returns 'people')"
        )
    try:
        return by_person(source.people, ids).forget
    except ConfigurationError as error:
        raise ConfigurationError(f"{told}: {fault}" for fault in error.faults) from None


def _listed(values: list[str]) -> str:
    return ", ".join(values[:_SHOWN]) + (", ..." if values[_SHOWN:] else "")
