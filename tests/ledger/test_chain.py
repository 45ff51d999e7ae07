"""The chain on bytes: what is appended, and what is said of bytes that are not what was appended."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from unweave.errors import ConfigurationError, UnsupportedError
from unweave.ledger.chain import append, contents, following, locked, parse


def seal(digest: str) -> str:
    return digest[::-1]


def grown(path: Path, count: int, time: str = "2026-01-01") -> bytes:
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        for number in range(count):
            chain = parse(contents(handle), seal)
            append(handle, chain, following(chain, time, "note", {"n": number}, seal))
        return contents(handle)
    finally:
        os.close(handle)


def test_a_write_that_takes_only_a_part_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, real = grown(tmp_path / "whole", 3), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, place: real(handle, data[:7], place))
    assert grown(tmp_path / "parts", 3) == whole and len(parse(whole, seal).entries) == 3


def test_a_torn_line_is_taken_away_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "torn"
    whole = grown(path, 1)
    path.write_bytes(whole + b'{"body": ' + b"x" * 4000)  # longer than the entry that comes
    assert parse(path.read_bytes(), seal).torn == 4009
    chain = parse(grown(path, 1), seal)
    assert (len(chain.entries), chain.faults, chain.torn) == (2, (), 0)


def test_what_is_said_of_other_bytes(tmp_path: Path) -> None:
    lines = grown(tmp_path / "ledger", 3).splitlines(keepends=True)
    found = parse(b"".join([lines[0], b"garbage\n", lines[2]]), seal)
    assert [fault.place for fault in found.faults] == ["line 2"], "the line after it keeps its number"
    faults = parse(b"".join(lines), lambda digest: "other").faults
    assert [fault.place for fault in faults] == ["line 1", "line 2", "line 3"]
    assert all("was not written with this ledger's key" in fault.text for fault in faults)


# A line as it has always been written. It must be read for ever: what it holds is sealed.
FIRST = (
    b'{"body":{"n":1,"\\u00e9":[null,0.5]},"hash":"799c7b5cb4a96edba6f549270ed8f744ff602be59b047572d8460456ee453b7b",'
    b'"kind":"note","number":1,"previous":"0000000000000000000000000000000000000000000000000000000000000000",'
    b'"seal":"b7b354ee6540648d275740b95eb206ff447f8de072945f6abde69a4bc5b7c997","time":"2026-01-01"}'
)


def test_the_format_does_not_change() -> None:
    """What is written now, and what was: byte for byte."""
    (entry,) = parse(FIRST + b"\n", seal).entries
    assert parse(FIRST + b"\n", seal).faults == () and json.loads(entry.pretty) == json.loads(FIRST)
    assert following(parse(b""), entry.time, entry.kind, entry.body, seal).line == FIRST


@pytest.mark.parametrize("body", [{"n": {1, 2}}, {"n": float("nan")}, {"n": "\udce4"}, {"\udce4": 1}])
def test_what_cannot_be_written_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="note"):
        following(parse(b""), "2026-01-01", "note", body, seal)


@pytest.mark.parametrize(("old", "new"), [(b'"number":1', b'"number":"1"'), (b'"time"', b'"when"'), (b"0.5", b"NaN")])
def test_a_line_of_other_fields_or_values_is_no_entry(old: bytes, new: bytes) -> None:
    (fault,) = parse(FIRST.replace(old, new, 1) + b"\n", seal).faults
    assert (fault.place, "found other text" in fault.text) == ("line 1", True)


def test_entries_of_two_ledgers_of_one_key_make_no_chain(tmp_path: Path) -> None:
    """Every entry is whole, sealed, and in its place by number; what it follows is another."""
    own = grown(tmp_path / "own", 2).splitlines(keepends=True)
    other = grown(tmp_path / "other", 2, "2026-02-02").splitlines(keepends=True)
    (fault,) = parse(own[0] + other[1], seal).faults
    assert (fault.place, "not written after the entry before it" in fault.text) == ("line 2", True)


def test_who_may_be_there_at_the_same_time(tmp_path: Path) -> None:
    """Readers together, a writer alone; who does not wait is told."""
    path = tmp_path / "ledger"
    with pytest.raises(ConfigurationError, match="cannot be opened"), locked(path, write=False):
        pass
    with locked(path, write=True):
        for write in (False, True):
            with pytest.raises(ConfigurationError, match="another process"), locked(path, write=write, wait=False):
                pass
    refused = pytest.raises(ConfigurationError, match="another process")
    with locked(path, write=False), locked(path, write=False, wait=False), refused:  # noqa: SIM117
        with locked(path, write=True, wait=False):
            pass
    with locked(path, write=True, wait=False) as handle:
        assert contents(handle) == b"", "free again"
    assert path.stat().st_mode & 0o133 == 0 and path.stat().st_mode & 0o600 == 0o600


def test_a_system_without_locks_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(UnsupportedError, match="POSIX file locks"), locked(tmp_path / "ledger", write=True):
        pass


def test_the_name_of_a_new_file_is_on_the_disk_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Path] = []
    monkeypatch.setattr("unweave.ledger.chain.on_disk", told.append)
    for write in (True, True, False):
        with locked(tmp_path / "ledger", write=write):
            assert told == [tmp_path], "once, before anything is written"


def test_a_disk_that_fails_is_not_a_ledger_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(OSError, match="No space"), locked(tmp_path / "ledger", write=True):
        pass


def test_an_entry_that_the_disk_did_not_confirm_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was written whole, and nobody was told so."""
    path = tmp_path / "ledger"
    before = grown(path, 2)

    def fails(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="does not count: Input/output error") as caught:
            grown(path, 1)
    assert caught.value.errno == errno.EIO and path.read_bytes() == before
    assert len(parse(grown(path, 1), seal).entries) == 3
