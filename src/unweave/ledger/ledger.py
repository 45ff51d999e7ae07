"""A ledger of deletion requests: one folder, one truth, any number of writers, one run at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from unweave.data.cache import atomically, on_disk
from unweave.errors import ConfigurationError, suggest
from unweave.ledger import key as keys
from unweave.ledger.book import Book, Standing, fold
from unweave.ledger.chain import Chain, Entry, Json, append, canonical, contents, following, locked, parse
from unweave.ledger.deletion import Deletion, fault_of_line
from unweave.ledger.index import Index
from unweave.ledger.key import Key
from unweave.ledger.selector import read_kept

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
                atomically(self.rows_file(request.id), canonical(sorted(rows)))
                chosen = {"rows": {"count": len(rows), "hmac": self.key.rows(request.id, rows)}}
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

    def read(self) -> tuple[Chain, Book]:
        """Everything that the ledger says; the index is brought up to date if need be.

        Raises:
            ConfigurationError: there is no ledger, or it is damaged.
        """
        with self.still() as (chain, book):
            if self.index.head() == chain.head:
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
            ConfigurationError: the ledger is damaged, the key is another one, or `make` refuses.
        """
        key = self.key
        with locked(self.truth, write=True) as handle:
            chain = parse(contents(handle), key.seal)
            self.check_key(chain)
            self._sound(chain)
            if not chain.entries:
                chain = self._append(handle, chain, "opened", {"format": FORMAT, "key": key.name})
            kind, body = make(fold(chain.entries))
            chain = self._append(handle, chain, kind, body)
            self.index.follow(chain, fold(chain.entries))
        return chain.entries[-1]

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
        self.private.mkdir(exist_ok=True, mode=0o700)
        (self.private / "rows").mkdir(exist_ok=True)
        keys.made(self.key_file)
        for folder in (self.private, self.folder, self.folder.resolve().parent):
            on_disk(folder)

    def _append(self, handle: int, chain: Chain, kind: str, body: Json) -> Chain:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        entry = following(chain, time, kind, body, self.key.seal)
        append(handle, chain, entry)
        return Chain((*chain.entries, entry), (), chain.size + len(entry.line) + 1, 0)

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
