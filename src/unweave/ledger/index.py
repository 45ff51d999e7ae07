"""The index: the book of a ledger as SQLite, for questions, and its head, to know a file that was cut short.

It is made from the truth and can be deleted: the next command makes it again. But then nothing beside the certificates
remembers how far the truth went.
"""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from unweave.errors import ConfigurationError
from unweave.ledger.book import Book, Standing
from unweave.ledger.chain import START, Chain, Fault, Json, written
from unweave.run.steps_log import counted

State = Literal["none", "behind", "same", "damaged", "other"]
_TABLES = """
create table head (one integer primary key check (one = 1), number integer not null, hash text not null);
create table entries (number integer primary key, time text, kind text, request text, hash text);
create table requests (
    position integer primary key, id text unique, received text, due text, selector text, records integer, basis text,
    note text, status text, batch text, decided text, outcome text, reason text, claim text, entry integer);
"""
_COLUMNS = (
    *("position", "id", "received", "due", "selector", "records", "basis", "note"),
    *("status", "batch", "decided", "outcome", "reason", "claim", "entry"),
)
# not a database, one of other tables, of other types, or with lengths that no memory holds
_DAMAGED = (sqlite3.Error, TypeError, ValueError, OverflowError, MemoryError)
_MACHINE = frozenset(  # what SQLite says of a file that is well, and that it cannot read or write now
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    | {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM}
)
_SAID: dict[State, str] = {"damaged": "cannot be read", "other": "is not what the truth says"}


class Index:
    """The SQLite file of a ledger; only whoever holds the truth's lock changes it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def head(self) -> tuple[int, str] | None:
        """Number and hash of the last entry that it knows; None where there is no index, or none that can be read."""
        return self._head()[0]

    def state(self, chain: Chain, book: Book) -> State:
        """What it is beside the truth: not there, behind, the same, not to be read, or other than that says."""
        known, state = self._head()
        if state != "same":
            return state
        if known != chain.head:
            return "behind"
        try:
            with self._open() as database:
                found = [
                    database.execute(f"select * from {name} order by 1").fetchall() for name in ("entries", "requests")
                ]
        except _DAMAGED as error:
            return "none" if _of_machine(error) else "damaged"
        return "same" if found == [_entries(chain), _rows(book)] else "other"

    def follow(self, chain: Chain, book: Book) -> None:
        """Brings it up to the end of a chain in one transaction; makes it anew if it is damaged, or not what that says.

        The truth does not wait for it: where it cannot be written a warning says so, and the next command tries again.
        """
        try:
            if said := _SAID.get(self.state(chain, book)):
                self._anew(said)
            try:
                self._follow(chain, book)
            except _DAMAGED as error:
                if _of_machine(error):
                    raise
                self._anew(f"cannot be read ({error})")
                self._follow(chain, book)
        except (sqlite3.Error, OSError, MemoryError) as error:
            said = f"{self._path} could not be written ({error}); the ledger itself is whole, and the next command"
            warnings.warn(f"{said} tries again", stacklevel=2)

    def requests(self, status: str | None = None) -> list[Json]:
        """The rows of all requests, or of those of a status, by due date.

        Raises:
            ConfigurationError: it is not there, or cannot be read.
        """
        if not self._path.is_file():
            raise ConfigurationError(f"{self._path} is not there: the next command makes it again")
        try:
            with self._open() as database:
                database.row_factory = sqlite3.Row
                found = database.execute(
                    "select * from requests where ? is null or status = ? order by due, position", (status, status)
                )
                return [dict(row) for row in found]
        except _DAMAGED as error:
            raise ConfigurationError(
                f"{self._path} cannot be read ({error}): delete it, the next command makes it again"
            ) from error

    def faults(self, chain: Chain, book: Book) -> list[Fault]:
        """What it holds other than the truth; to be behind, or not made yet, is no fault."""
        if said := _SAID.get(self.state(chain, book)):
            return [Fault(self._path.name, f"{said}: delete it, the next command makes it again", False)]
        return []

    def _head(self) -> tuple[tuple[int, str] | None, State]:
        """The last entry that it knows, and whether it is there and can be read ("same")."""
        if not self._path.is_file():
            return None, "none"
        try:
            with self._open() as database:
                if not database.execute("select count(*) from sqlite_master").fetchone()[0]:
                    return None, "none"  # its first transaction was ended before it came to the disk
                known = database.execute("select number, hash from head").fetchall()
                last = database.execute("select number, hash from entries order by number desc limit 1").fetchall()
                ((number, digest),) = known
                sound = known == (last or [(0, START)])  # a ledger may have been killed before its first entry
                return ((int(number), str(digest)), "same") if sound else (None, "damaged")
        except _DAMAGED as error:
            return None, "none" if _of_machine(error) else "damaged"

    def _anew(self, said: str) -> None:
        warnings.warn(f"{self._path} {said}: made again from the ledger", stacklevel=3)
        for suffix in ("-journal", "-wal", "-shm", ""):  # its journal must not be played back into another file
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _follow(self, chain: Chain, book: Book) -> None:
        with self._open() as database, database:
            database.execute("begin immediate")
            if not database.execute("select 1 from sqlite_master where name = 'head'").fetchone():
                for statement in _TABLES.strip().split(";\n"):
                    database.execute(statement.removesuffix(";"))
            number = database.execute("select coalesce(max(number), 0) from entries").fetchone()[0]
            fresh, rows = chain.entries[number:], _rows(book)
            if any(entry.kind == "annulment" for entry in fresh):
                database.execute("delete from requests")  # rows have moved up
            else:
                touched = {name for entry in fresh for name in _named(entry.body)}
                touched |= {each.id for each in book.requests.values() if touched & {*each.by}}
                rows = [row for row in rows if row[1] in touched]
            database.executemany(f"insert into entries values ({_marks(5)})", _entries(chain)[number:])
            database.executemany(f"insert or replace into requests values ({_marks(len(_COLUMNS))})", rows)
            database.execute("insert or replace into head values (1, ?, ?)", chain.head)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=60)) as database:
            yield database


def listed(book: Book, status: str | None = None) -> list[Json]:
    """The rows of all requests, or of those of a status, by due date, as the index has them."""
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in _rows(book)]
    rows = [row for row in rows if status in (None, row["status"])]
    return sorted(rows, key=lambda row: (row["due"], row["position"]))


def _of_machine(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in _MACHINE


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _named(body: Json) -> Sequence[str]:
    """The requests that an entry speaks of."""
    single = body.get("request") or body.get("id")
    return [single] if isinstance(single, str) else body.get("requests", [])


def _entries(chain: Chain) -> list[tuple[Any, ...]]:
    rows = ((e.number, e.time, e.kind, ", ".join(map(str, _named(e.body))), e.hash) for e in chain.entries)
    return [tuple(map(_cell, row)) for row in rows]


def _rows(book: Book) -> list[tuple[Any, ...]]:
    return [(position, *map(_cell, _row(each))) for position, each in enumerate(book.requests.values(), 1)]


def _row(each: Standing) -> tuple[Any, ...]:
    body, outcome = each.body, each.outcome
    what = body["selector"]
    found = {} if outcome is None else outcome.body
    count = found.get("records", what.get("rows", {})).get("count")
    short, reason = found.get("cause") or found.get("verdict"), found.get("reason")
    if each.retest is not None and not each.holds:
        short = f"undone by batch {each.retest['batch']}"
    if short and each.attested:
        short = f"{short}; {each.attested}"
    decided = None if outcome is None else outcome.time
    entry = None if outcome is None else outcome.number
    person = body["id"], body["received"], body["due"], _what(what), count, body["basis"], body["note"]
    return (*person, each.status, each.batch, decided, short, reason, each.claim["level"], entry)


def _what(selector: Json) -> str:
    """How a request names its records."""
    if "rows" not in selector:
        return f"class {', '.join(map(str, selector['class']))}"
    ids = selector["rows"].get("ids")
    return "rows" if ids is None else f"rows of {counted(ids, 'id', 'ids')}"


def _cell(value: Any) -> Any:
    """What SQLite can hold of a value, whatever the truth says."""
    if value is None or isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    return written(value if isinstance(value, str) else json.dumps(value)).decode()
