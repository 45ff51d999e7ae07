"""The index: the book of a ledger as SQLite, for questions, and its head, to know a file that was cut short.

It is made from the truth and can be deleted: the next command makes it again. But then nothing beside the certificates
remembers how far the truth went.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from unweave.ledger.book import Book, Standing
from unweave.ledger.chain import Chain, Fault, Json

_TABLES = """
create table head (one integer primary key check (one = 1), number integer not null, hash text not null);
create table entries (number integer primary key, time text, kind text, request text, hash text);
create table requests (
    position integer primary key, id text unique, received text, due text, selector text, records integer, basis text,
    note text, status text, batch text, decided text, outcome text, reason text, claim text, entry integer);
"""
_DAMAGED = (sqlite3.DatabaseError, TypeError)  # not a database, one of other tables, or of other types


class Index:
    """The SQLite file of a ledger; only whoever holds the truth's lock changes it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def head(self) -> tuple[int, str] | None:
        """Number and hash of the last entry that it knows; None where there is no index, or none that can be read."""
        if not self._path.is_file():
            return None
        try:
            with self._open() as database:
                found = database.execute("select number, hash from head").fetchone()
            return None if found is None else (int(found[0]), str(found[1]))
        except _DAMAGED:
            return None

    def follow(self, chain: Chain, book: Book) -> None:
        """Brings it up to the end of a chain in one transaction; makes it anew if it cannot be read."""
        try:
            self._follow(chain, book)
        except _DAMAGED as error:
            warnings.warn(f"{self._path} cannot be read ({error}): made again from the ledger", stacklevel=2)
            self._path.unlink(missing_ok=True)
            self._follow(chain, book)

    def requests(self, status: str | None = None) -> list[Json]:
        """The rows of all requests, or of those of a status, by due date."""
        with self._open() as database:
            database.row_factory = sqlite3.Row
            found = database.execute(
                "select * from requests where ? is null or status = ? order by due, position", (status, status)
            )
            return [dict(row) for row in found]

    def faults(self, chain: Chain, book: Book) -> list[Fault]:
        """What it holds other than the truth; to be behind is no fault."""
        if not self._path.is_file():
            return []
        known = self.head()
        if known is None:
            return [Fault(self._path.name, "cannot be read: delete it, the next command makes it again", False)]
        if known != chain.head:
            return []
        try:
            with self._open() as database:
                same = [
                    database.execute(f"select * from {name} order by 1").fetchall() for name in ("entries", "requests")
                ]
        except _DAMAGED:
            same = []
        if same == [_entries(chain), _rows(book)]:
            return []
        return [Fault(self._path.name, "is not what the truth says: delete it, the next command makes it again", False)]

    def _follow(self, chain: Chain, book: Book) -> None:
        with self._open() as database, database:
            database.execute("begin immediate")
            if not database.execute("select 1 from sqlite_master where name = 'head'").fetchone():
                for statement in _TABLES.strip().split(";\n"):
                    database.execute(statement.removesuffix(";"))
            number = database.execute("select coalesce(max(number), 0) from entries").fetchone()[0]
            fresh = _entries(chain)[number:]
            touched = {name for entry in chain.entries[number:] for name in _named(entry.body)}
            rows = [row for row in _rows(book) if row[1] in touched]
            database.executemany(f"insert into entries values ({_marks(5)})", fresh)
            database.executemany(f"insert or replace into requests values ({_marks(15)})", rows)
            database.execute("insert or replace into head values (1, ?, ?)", chain.head)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=60)) as database:
            yield database


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _named(body: Json) -> Sequence[str]:
    """The requests that an entry speaks of."""
    single = body.get("request") or body.get("id")
    return [single] if isinstance(single, str) else body.get("requests", [])


def _entries(chain: Chain) -> list[tuple[Any, ...]]:
    return [(e.number, e.time, e.kind, ", ".join(_named(e.body)), e.hash) for e in chain.entries]


def _rows(book: Book) -> list[tuple[Any, ...]]:
    return [(position, *_row(each)) for position, each in enumerate(book.requests.values(), 1)]


def _row(each: Standing) -> tuple[Any, ...]:
    body, outcome = each.body, each.outcome
    what = body["selector"]
    text = "rows" if "rows" in what else f"class {', '.join(map(str, what['class']))}"
    found = {} if outcome is None else outcome.body
    count = found.get("records", what.get("rows", {})).get("count")
    short, reason = found.get("cause") or found.get("verdict"), found.get("reason")
    if each.retest is not None and not each.holds:
        short = f"undone by batch {each.retest['batch']}"
    if short and each.attested:
        short = f"{short}; {each.attested}"
    decided = None if outcome is None else outcome.time
    entry = None if outcome is None else outcome.number
    person = body["id"], body["received"], body["due"], text, count, body["basis"], body["note"]
    return (*person, each.status, each.batch, decided, short, reason, each.claim["level"], entry)
