"""The truth: one line an entry, each with the hash of the one before."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unweave.errors import MACHINE, ConfigurationError, UnsupportedError
from unweave.store import on_disk

LONGEST = 1000  # characters of a basis, a note, a reason or a class
_ENDS = {"Cc": "line breaks or control characters", "Zl": "line breaks", "Zp": "line breaks"}
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # what follows is printed in another order


def fault_of_line(what: str, text: object) -> str:
    """What is wrong with words that are kept for good and printed as they are; nothing, if they are one line."""
    if not isinstance(text, str):
        return f"{what}: expected one line of text, found {type(text).__name__} {text!r:.40}"
    if len(text) > LONGEST:
        return f"{what}: expected one line of text, at most {LONGEST} characters, found {len(text)}"
    if found := fault_of_text(text):
        return f"{what}: expected one line of text, found {found}"
    wrong = next((_ENDS[kind] for kind in map(unicodedata.category, text) if kind in _ENDS), "")
    wrong = wrong or ("characters that turn the order of the others" if any(each in _TURNS for each in text) else "")
    return f"{what}: expected one line of text, found {wrong}" if wrong else ""


def fault_of_text(text: str) -> str:
    """What in a text cannot be written as UTF-8: half a character, as a byte of another encoding becomes one."""
    half = next((each for each in text if 0xD800 <= ord(each) <= 0xDFFF), None)
    return "" if half is None else f"a byte that is no UTF-8 ({ascii(half)[1:-1]}), as text in another encoding has"


def faults_of_texts(value: Any, place: str) -> Iterator[str]:
    """The same for every text in plain data, keys included; each with its place."""
    if isinstance(value, str):
        if found := fault_of_text(value):
            yield f"{place}: expected text, found {found}"
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from faults_of_texts(key, f"{place}, a key")
            yield from faults_of_texts(each, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from faults_of_texts(each, f"{place}[{number}]")


def written(text: str) -> bytes:
    """UTF-8, also of what an older version let in: half a character is written as its escape."""
    return text.encode("utf-8", "backslashreplace")


Json = dict[str, Any]
Seal = Callable[[str], str]
START = "0" * 64  # what the first entry holds as the hash before it
_TYPES = {"number": int, "time": str, "kind": str, "body": dict, "previous": str, "hash": str, "seal": str}


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was written.

    Args:
        place: the line, file or request.
        text: what was expected and what was found.
        refutes: it speaks against the ledger's claims; otherwise something is only not there to be checked.
    """

    place: str
    text: str
    refutes: bool = True

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True)
class Entry:
    """One line of the truth."""

    number: int
    time: str
    kind: str
    body: Json
    previous: str
    hash: str
    seal: str

    @property
    def line(self) -> bytes:
        """As it is written, without the end of the line."""
        return canonical(vars(self))

    @property
    def pretty(self) -> bytes:
        """As a file of its own."""
        return json.dumps(vars(self), indent=2).encode("ascii") + b"\n"

    @property
    def digest(self) -> str:
        """What `hash` has to be."""
        return hashlib.sha256(canonical({k: v for k, v in vars(self).items() if k not in ("hash", "seal")})).hexdigest()


@dataclass(frozen=True)
class Chain:
    """All entries of a file, what is wrong with them, and where the last whole line ends."""

    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...]
    size: int
    torn: int

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the last entry."""
        return (self.entries[-1].number, self.entries[-1].hash) if self.entries else (0, START)


def canonical(value: Any) -> bytes:
    """The one way to write a value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def following(chain: Chain, time: str, kind: str, body: Json, seal: Seal) -> Entry:
    """The entry that comes next.

    Raises:
        ConfigurationError: its body holds what cannot be written: no plain data, or text that is none.
    """
    number, previous = chain.head
    if faults := list(faults_of_texts(body, kind)):
        raise ConfigurationError(faults)
    try:
        held = json.loads(canonical(body))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{kind}: expected plain data, which cannot be written: {error}") from error
    entry = Entry(number + 1, time, kind, held, previous, "", "")
    return Entry(**{**vars(entry), "hash": entry.digest, "seal": seal(entry.digest)})


def parse(data: bytes, seal: Seal | None = None) -> Chain:
    """The entries in a file's bytes, with every break of the chain.

    Args:
        data: of the whole file.
        seal: makes the seal of a hash; None: seals are not looked at.
    """
    size = data.rfind(b"\n") + 1
    entries: list[Entry] = []
    faults: list[Fault] = []
    number, previous = 0, START
    for place, raw in enumerate(data[:size].split(b"\n")[:-1], 1):
        entry = _entry(raw)
        if entry is None:
            faults.append(
                Fault(f"line {place}", "expected an entry of the ledger, found other text: damaged or edited")
            )
            number, previous = number + 1, ""
            continue
        if text := _broken(entry, raw, number, previous, seal):
            faults.append(Fault(f"line {place}", text))
        entries.append(entry)
        number, previous = entry.number, entry.hash
    return Chain(tuple(entries), tuple(faults), size, len(data) - size)


def _broken(entry: Entry, raw: bytes, number: int, previous: str, seal: Seal | None) -> str | None:
    """What is wrong with an entry after the one of that number and hash; an empty hash is not known."""
    name = f"entry {entry.number} ({entry.kind})"
    if entry.hash != entry.digest or raw != entry.line:
        return f"{name} was edited: its hash is not that of what it holds"
    if entry.number != number + 1:
        return f"expected entry {number + 1}, found {entry.number}: entries are missing or in another order"
    if previous and entry.previous != previous:
        return f"{name} was not written after the entry before it: that one was edited or replaced"
    if seal is not None and entry.seal != seal(entry.hash):
        return f"{name} was not written with this ledger's key"
    return None


def _entry(raw: bytes) -> Entry | None:
    try:
        found = json.loads(raw)
        same = found.keys() == _TYPES.keys() and all(type(found[key]) is kind for key, kind in _TYPES.items())
        return Entry(**found) if same and canonical(found) else None
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None


@contextmanager
def locked(path: Path, *, write: bool, wait: bool = True) -> Iterator[int]:
    """The open file, for this process alone if it is to be written; others wait.

    Raises:
        ConfigurationError: it cannot be opened, or another process has it and nobody waits.
        UnsupportedError: a system without file locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        raise UnsupportedError("A ledger needs POSIX file locks: keep it on Linux or macOS.") from None
    try:
        new = write and not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_CREAT if write else os.O_RDONLY, 0o644)
    except OSError as error:
        if error.errno in MACHINE:
            raise
        raise ConfigurationError(f"{path}: expected a ledger's file, which cannot be opened: {error}") from error
    try:
        if new:
            on_disk(path.parent)
        try:
            fcntl.flock(handle, (fcntl.LOCK_EX if write else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ConfigurationError(f"{path}: another process is at work here: wait for its end") from None
        yield handle
    finally:
        os.close(handle)  # and with it the lock


def contents(handle: int) -> bytes:
    """All bytes of an open file."""
    found = b""
    while part := os.pread(handle, os.fstat(handle).st_size - len(found), len(found)):
        found += part
    return found


def append(handle: int, chain: Chain, entry: Entry) -> None:
    """Writes an entry after the last whole line; when it returns, the entry is on the disk.

    A torn line at the end, of a write that was ended before it returned, is taken away first.

    Raises:
        OSError: the disk is full or fails; nothing was acknowledged.
    """
    left, place = entry.line + b"\n", chain.size
    try:
        if chain.torn:
            os.ftruncate(handle, chain.size)
        while left:
            written = os.pwrite(handle, left, place)
            left, place = left[written:], place + written
        os.fsync(handle)
    except OSError as error:
        if not left:
            with suppress(OSError):  # whole, and not acknowledged: nobody may find it
                os.ftruncate(handle, chain.size)
        said = f"the entry could not be written, and does not count: {error.strerror or error}"
        raise OSError(error.errno, said) from error
