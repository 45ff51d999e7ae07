"""`unweave requests` with arguments and files that nobody meant: an answer or an error of ours, and nothing is lost."""

from __future__ import annotations

import os
import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fuzz._cases import cases
from tests.ledger._ledgers import small
from unweave.cli import main
from unweave.ledger import Ledger, verify

CODES = {0, 2, 3}
TEXTS = (
    *(
        "R-1",
        "R-3",
        "new",
        "a" * 64,
        "a" * 65,
        "",
        " ",
        ".",
        "..",
        "../x",
        "-1",
        "=1",
        "A",
        "r-1",
        "NUL",
        "0",
        "é",
        "٣",
    ),
    *(
        "caf\udce9",
        "\udcff",
        "\ud83d",
        "a\x01b",
        "a\nb",
        "\u2028",
        "\u202e",
        "👩‍👩‍👧",
        "x" * 5000,
        "9" * 30,
        "9" * 5000,
    ),
    *("1", "3", "cat", "-5", "1e3", "True", "None", "[bold]", "%s", "{0}", "\\", "'", '"', "2026-01-01", "💥"),
)
DAYS = (
    *("2026-01-01", "2026-12-31", "0001-01-01", "9999-12-31", "9999-12-02", "1970-01-01", "1969-12-31", "2026-02-30"),
    *("2026-1-1", "", "today", "10000-01-01", "2026-01-01T00:00", "٢٠٢٦-٠١-٠١", "\udce9"),
)
LISTS = (
    *(b"1\n2\n", b"", b"\xff\xfe1\x00", b"1\n1\n", b"-1\n", b"9" * 400, b"id\nann\n", b"\xef\xbb\xbf3\n", b"caf\xe9\n"),
    *(b"[1, 2]", b"[[1]]", b"{", b"[" * 5000, b'["ann"]', b"null", b"\0", b'"', b"1\r2\r", b"9223372036854775808\n"),
)


def words(dice: random.Random, folder: Path) -> list[str]:
    """Arguments of one command."""
    text: Callable[[], str] = lambda: dice.choice(TEXTS)  # noqa: E731
    number: Callable[[], str] = lambda: dice.choice(("1", "3", "7", "0", "-1", "99", "9" * 30, "x", "3.0"))  # noqa: E731

    def file() -> str:
        path = folder / f"list{dice.choice(('.txt', '.csv', '.json', '.jsonl', '.npy', '.xml', ''))}"
        path.write_bytes(dice.choice(LISTS))
        return str(dice.choice((path, path, path, folder, folder / "not there")))

    match dice.choice(("add", "add", "add", "reject", "annul", "list", "show", "verify", "attest")):
        case "add":
            made = ["add", dice.choice((text(), f"new-{dice.randrange(10**6)}"))]
            options = {"--class": text, "--rows": file, "--ids": file, "--of": file, "--basis": text, "--note": text}
            options |= {"--received": lambda: dice.choice(DAYS), "--due": lambda: dice.choice(DAYS)}
            for name in dice.sample(sorted(options), dice.randint(0, 4)):
                made += [name, options[name]()]
            return made if dice.random() < 0.5 else [*made, "--class", "1"]
        case "reject":
            return ["reject", text(), "--reason", text()]
        case "annul":
            return ["annul", *(number() for _ in range(dice.randint(0, 3))), "--reason", text()]
        case "list":
            return ["list", *dice.choice(([], ["--status", text()], ["--overdue"], ["--json"]))]
        case "show":
            return ["show", text(), *dice.choice(([], ["--json"]))]
        case "attest":
            return ["attest", text(), "--evidence", file()]
        case _:
            heads = [("--head", text()), ("--head", "0" * 64), ("--model", file()), ("--json",), ()]
            return ["verify", *dice.choice(heads)]


def damage(dice: random.Random, folder: Path) -> None:
    """One file of a ledger is not what it was, or not what it is called."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    path = dice.choice([folder / "ledger.jsonl", folder / "index.sqlite", folder / "private" / "key", *found])
    if not path.is_file():
        return
    content = bytearray(path.read_bytes())
    match dice.randrange(8):
        case 0 | 1 | 2 if content:
            for _ in range(dice.choice((1, 2, 20))):
                content[dice.randrange(len(content))] = dice.randrange(256)
        case 3 if content:
            content = content[: dice.randrange(len(content))]
        case 4:
            place = dice.randrange(len(content) + 1)
            content[place:place] = dice.choice([b"\n", b"{}\n", b"\0" * 100, b"[" * 3000, b"\xff", b"null\n", b'"'])
        case 5:
            content = bytearray(
                dice.choice([b"", b"{}", b"[]", b"[" * 4000, b"\xff\xfe", b"null\n", b"0" * 64, b"[1,2.5]", b'"a"'])
            )
        case 6:
            path.unlink()
            if dice.random() < 0.5:
                path.mkdir()
            return
        case _:
            content += content[: dice.randrange(len(content) + 1)]
    path.write_bytes(content)


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def code(arguments: list[str]) -> int:
    """The exit code; whatever is no exit is a fault of ours."""
    with quiet(), pytest.raises(SystemExit) as ended:
        main(["requests", *arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("ledgers") / "ledger").folder


def test_arguments(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was acknowledged is on record, what was refused is not, and the ledger stays whole."""
    dice, ran, codes = random.Random(1), cases(50), Counter[int]()
    ledger = Ledger(Path(shutil.copytree(original, tmp_path / "0")))
    for number in range(ran):
        if number % 100 == 99:
            assert not verify(ledger).faults
            ledger = Ledger(Path(shutil.copytree(original, tmp_path / str(number))))
        arguments, before = words(dice, tmp_path), len(ledger.read()[0].entries)
        ended = code([*arguments, "--ledger", str(ledger.folder)])
        said = capsys.readouterr()
        assert ended in CODES and "Traceback" not in said.err, (arguments, ended, said.err)
        written = len(ledger.read()[0].entries) - before
        expected = ended == 0 and arguments[0] in ("add", "reject", "annul")
        assert written == expected, (arguments, written, said.err)
        codes[ended] += 1
    assert not verify(ledger).faults
    assert codes.total() == ran and min(codes[0], codes[2]) > ran // 12


def test_damaged_files(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After every damage all commands end as they should, and `verify` says so unless nothing was lost by it."""
    dice, ran, codes = random.Random(2), cases(25), Counter[int]()
    ways = (["list"], ["show", "R-1"], ["verify"], ["add", "next", "--class", "1"], ["reject", "R-3", "--reason", "no"])
    for number in range(ran):
        folder = Path(shutil.copytree(original, tmp_path / "ledger"))
        for _ in range(dice.choice((1, 1, 2, 4))):
            damage(dice, folder)
        for arguments in (dice.choice(ways), dice.choice(ways)):
            ended = code([*arguments, "--ledger", str(folder)])
            said = capsys.readouterr()
            assert ended in CODES and "Traceback" not in said.err, (number, arguments, ended, said.err)
            codes[ended] += 1
        shutil.rmtree(folder)
    assert codes.total() == 2 * ran and min(codes[each] for each in (0, 2)) > ran // 8
    assert not os.listdir(tmp_path)
