"""What the machine does to a ledger: a full disk, open folders, killed writes, an index that is damaged."""

from __future__ import annotations

import errno
import io
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ledger._ledgers import small
from tests.run._kills import forked
from unweave.cli import main
from unweave.errors import ConfigurationError
from unweave.ledger import Deletion, Ledger, Selector, verify
from unweave.store import atomically, beside, folder_once, tidy

ONE = Selector(classes=(1,))
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def failing(code: int, after: int = 0) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


def command(ledger: Ledger, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["requests", *arguments, "--ledger", str(ledger.folder)])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", ["pwrite", "fsync", "replace"])
def test_a_full_disk_is_one_message_and_exit_code_1(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was acknowledged is what is listed; nothing else is, whichever call the system refused."""
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(Deletion("A", ONE))
    (tmp_path / "rows.txt").write_text("1\n2\n")
    for number, code in enumerate(FULL):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing(code))
            assert command(ledger, "add", f"R-{number}", "--rows", str(tmp_path / "rows.txt")) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ") and os.strerror(code).lower() in said.lower() and said.count("\n") == 1, said
        assert [row["id"] for row in ledger.requests()] == ["A"]
        assert not [path for path in ledger.folder.rglob("*") if path.name.endswith(".partial")]
    assert not verify(ledger).faults
    assert command(ledger, "add", "R-0", "--rows", str(tmp_path / "rows.txt")) == 0 and not verify(ledger).faults


def test_no_room_for_the_next_line(tmp_path: Path) -> None:
    """The limit of a file's size ends a write in its middle, of the truth or of the index, as a full disk does."""
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(Deletion("A", ONE))
    size, known, said = ledger.truth.stat().st_size, ["A"], ""
    for number, room in enumerate((size + 40, size + 2000)):
        reader, writer = os.pipe()

        def child(room: int = room, name: str = f"R-{number}", writer: int = writer) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            sys.stderr = told = io.StringIO()
            code = command(ledger, "add", name, "--class", "1", "--note", "n" * 900)
            os.write(writer, f"{code} {told.getvalue()}".encode())

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            assert forked(child) == 0
        os.close(writer)
        with os.fdopen(reader) as pipe:
            code, said = pipe.read().split(" ", 1)
        assert code == ("0" if number else "1"), said
        known += [f"R-{number}"] * number
        assert [row["id"] for row in ledger.requests()] == known, "what was acknowledged"
    assert "could not be written" in said, "the index is larger than the limit, and waits for the next command"
    assert known == ["A", "R-1"] and not verify(ledger).faults


def test_an_index_that_cannot_be_written_keeps_nothing_from_being_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(Deletion("A", ONE))
    with monkeypatch.context() as patch:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        patch.setattr("unweave.ledger.index.Index._follow", lambda *_: (_ for _ in ()).throw(error))
        with pytest.warns(UserWarning, match="disk is full.*the ledger itself is whole"):
            assert ledger.add(Deletion("B", ONE)).number == 3
        with pytest.warns(UserWarning, match="tries again"):
            assert [row["id"] for row in ledger.requests()] == ["A", "B"]
    assert ledger.index.head() is not None and not verify(ledger).faults, "it is behind, and still an anchor"
    ledger.read()
    assert [row["id"] for row in ledger.index.requests()] == ["A", "B"]


def test_flipped_bytes_of_the_index_change_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """30 damaged indices, byte by byte and page by page: every command answers from the truth and makes it again."""
    ledger, dice, found = small(tmp_path / "ledger"), random.Random(0), 0
    path, answer = ledger.folder / "index.sqlite", ledger.requests()
    whole = path.read_bytes()
    for number in range(30):
        content = bytearray(whole)
        match number % 3:
            case 0:
                for _ in range(dice.choice((1, 3, 50))):
                    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
            case 1:
                place = dice.randrange(len(content))
                content[place : place + 500] = dice.randbytes(500)
            case _:
                content = content[: dice.randrange(len(content))]
        path.write_bytes(content)
        seen = verify(ledger)
        assert not seen.refuted and len(seen.faults) <= 1
        found += len(seen.faults)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert command(ledger, "list") == 0 and ledger.requests() == answer
        capsys.readouterr()
        assert not verify(ledger).faults and ledger.index.requests() == answer
    assert found > 7


def test_a_journal_is_not_played_back_into_another_index(tmp_path: Path) -> None:
    ledger = small(tmp_path / "ledger")
    path = ledger.folder / "index.sqlite"
    path.write_bytes(b"no database" * 500)
    path.with_name("index.sqlite-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(600))
    with pytest.warns(UserWarning, match="made again"):
        ledger.read()
    assert not verify(ledger).faults and len(ledger.index.requests()) == 5
    empty = Ledger(tmp_path / "empty")
    empty.add(Deletion("A", ONE))
    empty.truth.write_bytes(b"")  # killed before the first entry, and read
    (empty.folder / "index.sqlite").unlink()
    assert not empty.read()[1].requests and empty.add(Deletion("A", ONE)).number == 2
    path.write_bytes(b"")  # of a first transaction that was killed: nothing is wrong, nothing is known
    assert not verify(ledger).faults and "no index" in verify(ledger).notes[0]


def test_what_is_private_is_closed_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made the folder before, and whatever it was opened to since."""
    private = tmp_path / "ledger" / "private"
    (private / "rows").mkdir(parents=True, mode=0o755)
    private.chmod(0o777)
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(Deletion("A", Selector(rows=(1, 2))))
    open_ = [path for path in (private, *private.rglob("*")) if path.stat().st_mode & 0o077]
    assert not open_ and (private / "rows" / "A.json").stat().st_mode & 0o777 == 0o600
    for folder in (private, private / "rows"):
        folder.chmod(0o755)
    for file in (private / "key", private / "rows" / "A.json"):
        file.chmod(0o644)
    assert sum("can be read by others" in note for note in verify(ledger).notes) == 2
    ledger.add(Deletion("B", Selector(rows=(3,))))
    assert not [path for path in (private, *private.rglob("*")) if path.stat().st_mode & 0o077]
    private.chmod(0o755)
    size = ledger.truth.stat().st_size
    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", lambda *_, **__: None)  # a file system without permissions
        with pytest.raises(ConfigurationError, match=r"others on this machine can read .*private, and that cannot"):
            ledger.add(Deletion("C", ONE))
        patch.setattr(Path, "chmod", failing(errno.EPERM))
        with pytest.raises(ConfigurationError, match="Operation not permitted"):
            ledger.reject("A", "no")
    assert ledger.truth.stat().st_size == size


def test_what_killed_writes_left_is_taken_away(tmp_path: Path) -> None:
    """By the next write beside it; never what somebody is still writing."""
    path = tmp_path / "kept.json"

    def dying() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            atomically(path, b"new", private=True)

    path.write_bytes(b"old")
    for _ in range(3):
        assert forked(dying) == signal.SIGKILL
    left = [each for each in tmp_path.iterdir() if each != path]
    assert 1 <= len(left) <= 3 and path.read_bytes() == b"old"
    own, foreign, old = (
        tmp_path / name for name in (beside(path).name, ".a.0123abcd-7-1.partial", ".b.0123abcd-7-1.partial")
    )
    for each in (own, foreign, old):
        each.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    user = tmp_path / ".mine.partial"
    user.write_bytes(b"mine")
    tidy(tmp_path / "not there")
    atomically(tmp_path / "other.json", b"{}")
    assert {each.name for each in tmp_path.iterdir()} == {"kept.json", "other.json", own.name, foreign.name, user.name}
    atomically(path, b"new")
    assert path.read_bytes() == b"new" and not own.exists()


def test_a_ledger_that_cannot_be_written_to_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = small(tmp_path / "ledger")
    shutil.copy(ledger.folder / "index.sqlite", tmp_path / "old")
    ledger.add(Deletion("R-9", ONE))
    shutil.copy(tmp_path / "old", ledger.folder / "index.sqlite")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert len(ledger.requests()) == 6 and ledger.read()[1].requests["R-9"].status == "open"


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """Also after a kill while it is written, whose rest the next write beside it takes away."""
    folder = tmp_path / "folders" / "one"

    def half(partial: Path) -> None:
        (partial / "a").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    def write(partial: Path) -> None:
        assert not any(partial.iterdir())
        (partial / "a").write_text("whole")

    def full(place: Path) -> bool:
        return (place / "a").is_file() and (place / "a").read_text() == "whole"

    assert forked(lambda: folder_once(folder, half)) == signal.SIGKILL and not folder.exists()
    assert any(folder.parent.iterdir())
    assert folder_once(folder, write) == folder and full(folder)
    atomically(folder.parent / "other.json", b"{}")
    assert {each.name for each in folder.parent.iterdir()} == {"one", "other.json"}

    def never(partial: Path) -> None:
        raise AssertionError("it is there")

    assert folder_once(folder, never) == folder
    (folder / "a").write_text("damaged")
    assert full(folder_once(folder, write, full))

    def second(partial: Path) -> None:  # another process was first meanwhile: what it wrote stays
        assert forked(lambda: folder_once(other, write)) == 0
        (partial / "a").write_text("late")

    other = tmp_path / "folders" / "two"
    assert full(folder_once(other, second))
