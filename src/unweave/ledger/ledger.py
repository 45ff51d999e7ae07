"""A ledger of deletion requests: one folder, one truth, any number of writers, one run at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from unweave.errors import ConfigurationError, suggest
from unweave.ledger import files as keys
from unweave.ledger.book import Book, Standing, entered, fold
from unweave.ledger.chain import (
    Chain,
    Entry,
    Json,
    append,
    canonical,
    contents,
    fault_of_line,
    following,
    locked,
    parse,
)
from unweave.ledger.files import Key
from unweave.ledger.index import Index, listed
from unweave.ledger.selector import Deletion, read_kept
from unweave.store import atomically, on_disk

FORMAT = 1


class Ledger:
    """The requests of one model, from the day they came to their certificates.

    `ledger.jsonl` is the truth, `index.sqlite` is made from it, `certificates/` and `runs/` are what the truth speaks
    of, and `private/` holds what must not leave the house: the key and the rows of every request.

    Args:
        folder: made by the first request.
        key: file of the key; None: in `private/`.
    """

    def __init__(self, folder: Path, key: Path | None = None) -> None:
        self.folder = folder
        self.truth, self.private = folder / "ledger.jsonl", folder / "private"
        self.key_file = key or self.private / "key"
        self.index = Index(folder / "index.sqlite")

    @cached_property
    def key(self) -> Key:
        """The key.

        Raises:
            ConfigurationError: it is not where it should be.
        """
        return keys.read(self.key_file)

    def add(self, request: Deletion) -> Entry:
        """Records a request; when it returns, nothing but the loss of the disk can lose it.

        Raises:
            ConfigurationError: there is a request of this id, or the ledger is damaged.
        """
        if not self.truth.exists():
            self._open()
        begin, end = request.dates
        rows = request.selector.rows

        def make(book: Book) -> tuple[str, Json]:
            if request.id.lower() in map(str.lower, book.requests):  # files are named by it, also where case is lost
                raise ConfigurationError(f"request {request.id} is in the ledger already: give this one another id")
            chosen: Json = {"class": list(request.selector.classes)}
            if rows:
                atomically(self.rows_file(request.id), canonical(sorted(rows)), private=True)
                ids: Json = {} if request.selector.ids is None else {"ids": request.selector.ids}
                if request.selector.among:
                    ids["among"] = self.key.ids(request.id, request.selector.among)
                chosen = {"rows": {"count": len(rows), "hmac": self.key.rows(request.id, rows), **ids}}
            dates = {"received": begin.isoformat(), "due": end.isoformat()}
            words = {"basis": request.basis, "note": request.note}
            return "request", {"id": request.id, **dates, "selector": chosen, **words}

        return self.write(make)

    def reject(self, name: str, reason: str) -> Entry:
        """Closes a request that is not to be carried out, for a reason of the user's.

        Raises:
            ConfigurationError: no such request, no reason in one line, or a request that is under way or decided.
        """
        if fault := fault_of_line("reason", reason) or ("" if reason.strip() else "a rejection needs a reason"):
            raise ConfigurationError(f"request {name}: {fault}")

        def make(book: Book) -> tuple[str, Json]:
            if (status := find(book, name).status) != "open":
                raise ConfigurationError(f"request {name} is {status}: only an open one can be rejected by hand")
            return "rejection", {"request": name, "cause": "refused", "reason": reason}

        return self.write(make)

    def annul(self, numbers: Sequence[int], reason: str) -> Entry:
        """Sets entries aside, for good: open requests, and what an older version wrote and nobody can read.

        They stay in the truth, which is only ever appended to; from now on it is read without them, and the id of a
        request can be used again.

        Args:
            numbers: of the entries.
            reason: why, in one line.

        Raises:
            ConfigurationError: no reason in one line, an entry that is not there, that is set aside already or that
                the ledger stands on, or others that cannot be read either.
        """
        if fault := fault_of_line("reason", reason) or ("" if reason.strip() else "an annulment needs a reason"):
            raise ConfigurationError(fault)

        def make(chain: Chain) -> tuple[str, Json]:
            book, unread = entered(chain.entries)
            entries, chosen = {entry.number: entry for entry in chain.entries}, list(dict.fromkeys(numbers))
            free = {n: e.body["id"] for n, e in entries.items() if n not in unread and _is_open(e, book)}
            faults = [f"there is no entry {n}: the last one is {chain.head[0]}" for n in chosen if n not in entries]
            faults += [
                f"entry {n} ({entries[n].kind}): only an open request can be annulled, or what cannot be read"
                for n in chosen
                if n in entries and n not in unread and n not in free
            ]
            if faults or not chosen:
                raise ConfigurationError(faults or "expected the number of an entry, found none")
            names = [free[n] for n in chosen if n in free]
            return "annulment", {"entries": chosen, "requests": names, "reason": reason}

        return self._write(make)

    def requests(self, status: str | None = None) -> list[Json]:
        """A row for each request, or for each of a status, by due date: as the index has them, from the truth.

        Raises:
            ConfigurationError: there is no ledger, or it is damaged.
        """
        return listed(self.read()[1], status)

    def read(self) -> tuple[Chain, Book]:
        """Everything that the ledger says; the index is brought up to date if need be and it can be written.

        Raises:
            ConfigurationError: there is no ledger, or it is damaged.
        """
        with self.still() as (chain, book):
            if self.index.state(chain, book) == "same" or not os.access(self.truth, os.W_OK):
                return chain, book
        with locked(self.truth, write=True) as handle:
            chain = self._sound(parse(contents(handle)))
            book = fold(chain.entries)
            self.index.follow(chain, book)
        return chain, book

    @contextmanager
    def still(self) -> Iterator[tuple[Chain, Book]]:
        """Everything that the ledger says; while the block runs, no process adds to it.

        Raises:
            ConfigurationError: there is no ledger, or it is damaged.
        """
        self.check_there()
        with locked(self.truth, write=False) as handle:
            chain = self._sound(parse(contents(handle)))
            yield chain, fold(chain.entries)

    def write(self, make: Callable[[Book], tuple[str, Json]]) -> Entry:
        """Appends the entry (kind and body) that `make` derives from the book, while no other process writes.

        Raises:
            ConfigurationError: the ledger is damaged, the key is another one, `make` refuses, or what it makes could
                not be read again.
            OSError: the disk is full or fails; the entry does not count.
        """
        return self._write(lambda chain: make(fold(chain.entries)))

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs, no other process can run requests.

        Raises:
            ConfigurationError: another one does.
        """
        self.check_there()
        with locked(self.folder / "run.lock", write=True, wait=False):
            yield

    def check_there(self) -> None:
        """Refuses a folder without a ledger.

        Raises:
            ConfigurationError: with how to begin one.
        """
        if not self.truth.is_file():
            raise ConfigurationError(
                f"{self.folder} holds no ledger ({self.truth.name}): "
                "give its folder with --ledger, or begin one with `unweave requests add`"
            )

    def check_key(self, chain: Chain) -> None:
        """Refuses a key that the ledger was not opened with.

        Raises:
            ConfigurationError: both keys by name.
        """
        own = chain.entries[0].body.get("key") if chain.entries else None
        if own not in (None, self.key.name):
            raise ConfigurationError(f"{self.key_file}: expected the key {own} of this ledger, found {self.key.name}")

    def section(self, each: Standing) -> Json:
        """A request as a recipe writes it.

        Raises:
            ConfigurationError: its rows are gone, or not those that were recorded.
        """
        told = each.body["selector"]
        if "class" in told:
            return {"class": told["class"]}
        path = self.rows_file(each.id)
        read_kept(path, self.key, each.id, told["rows"]["hmac"])
        return {"indices": str(path.resolve())}

    def rows_file(self, name: str) -> Path:
        """Where the rows of a request are kept."""
        return self.private / "rows" / f"{name}.json"

    def gone_file(self, batch: str) -> Path:
        """Where the rows are kept that a batch leaves out, since earlier requests named them."""
        return self.private / "batches" / f"{batch}.json"

    def union_file(self, batch: str) -> Path:
        """Where the rows are kept that the requests of a batch name together."""
        return self.private / "batches" / f"{batch}-together.json"

    def certificate_file(self, name: str) -> Path:
        """Where the certificate of a request lies, an entry of the truth in a file of its own."""
        return self.folder / "certificates" / f"{name}.json"

    def evidence_file(self, name: str, digest: str) -> Path:
        """Where what is on record of evidence about a request lies; the digest is that of the whole `evidence.json`."""
        return self.folder / "evidence" / f"{name}-{digest[:12]}.json"

    def _open(self) -> None:
        """Makes the folders and the key, so that they outlive the machine's crash."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in self._closed:
            folder.mkdir(exist_ok=True, mode=0o700)
        self._close()
        keys.made(self.key_file)
        for folder in (self.private, self.folder, self.folder.resolve().parent):
            on_disk(folder)

    @property
    def _closed(self) -> tuple[Path, ...]:
        """Folders that nobody else may look into."""
        return self.private, self.private / "rows", self.private / "batches"

    def _close(self) -> None:
        """Sees to it that nobody else on this machine can read what is private.

        Raises:
            ConfigurationError: others can, and it cannot be changed.
        """
        try:
            for folder in filter(exposed, self._closed):
                folder.chmod(0o700)
                for path in filter(Path.is_file, folder.iterdir()):
                    path.chmod(0o600)
            if self.key_file.parent == self.private and exposed(self.key_file):
                self.key_file.chmod(0o600)
            left = [str(path) for path in (*self._closed, self.private / "key") if exposed(path)]
        except OSError as error:
            left = [f"{error.filename} ({error.strerror})"]
        if left:
            raise ConfigurationError(
                f"{self.private}: others on this machine can read {', '.join(left)}, and that cannot be changed: keep "
                f"the ledger where files have owners, and close it with `chmod -R go= {self.private}`"
            )

    def _write(self, make: Callable[[Chain], tuple[str, Json]]) -> Entry:
        key = self.key
        self._close()
        with locked(self.truth, write=True) as handle:
            chain = parse(contents(handle), key.seal)
            self.check_key(chain)
            self._sound(chain)
            if not chain.entries:
                chain, _ = self._append(handle, chain, "opened", {"format": FORMAT, "key": key.name})
            chain, book = self._append(handle, chain, *make(chain))
            self.index.follow(chain, book)
        return chain.entries[-1]

    def _append(self, handle: int, chain: Chain, kind: str, body: Json) -> tuple[Chain, Book]:
        """The chain and the book with one entry more, which is on the disk; none is written that cannot be read."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        entry = following(chain, time, kind, body, self.key.seal)
        longer = Chain((*chain.entries, entry), (), chain.size + len(entry.line) + 1, 0)
        book = fold(longer.entries)
        append(handle, chain, entry)
        return longer, book

    def _sound(self, chain: Chain) -> Chain:
        """The chain, if it can be built on."""
        faults = [str(fault) for fault in chain.faults]
        found = chain.entries[0].body.get("format", FORMAT) if chain.entries else FORMAT
        if not faults and found != FORMAT:
            faults = [f"expected a ledger of format {FORMAT}, found {found!r}: it is of another version"]
        if cut := cut_short(chain, self.index.head(), "the index"):
            faults.append(cut)
        if faults:
            damaged = [
                f"{self.truth} is damaged: {len(faults)} faults; `unweave requests verify` says what to think of it"
            ]
            raise ConfigurationError([*faults[:10], *damaged])
        return chain


def _is_open(entry: Entry, book: Book) -> bool:
    """It is the entry of a request that waits, and is in no batch."""
    known = book.requests.get(str(entry.body.get("id"))) if entry.kind == "request" else None
    return known is not None and known.body is entry.body and known.status == "open"


def exposed(path: Path) -> bool:
    """Whether it is there and others on this machine may read it, or what is in it."""
    return path.exists() and bool(path.stat().st_mode & 0o077)


def find(book: Book, name: str) -> Standing:
    """A request of the book.

    Raises:
        ConfigurationError: there is none of this id.
    """
    if name not in book.requests:
        raise ConfigurationError(f"no request {name!r} in the ledger.{suggest(name, book.requests)}")
    return book.requests[name]


def cut_short(chain: Chain, head: tuple[int, str] | None, who: str) -> str | None:
    """What is wrong with a chain if somebody knows that this entry was in it."""
    if head is None or head[0] == 0:
        return None
    number, digest = head
    if chain.head[0] < number:
        return f"the ledger was cut short: {who} knows entry {number}, the last one here is {chain.head[0]}"
    if not any(entry.hash == digest for entry in chain.entries if entry.number == number):
        return f"the ledger was rewritten: {who} knows entry {number} by another hash ({digest[:12]}...)"
    return None
