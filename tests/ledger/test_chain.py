"""The chain on bytes: what is appended, and what is said of bytes that are not what was appended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unweave.ledger.chain import append, contents, following, parse


def seal(digest: str) -> str:
    return digest[::-1]


def grown(path: Path, count: int) -> bytes:
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        for number in range(count):
            chain = parse(contents(handle), seal)
            append(handle, chain, following(chain, "2026-01-01", "note", {"n": number}, seal))
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
