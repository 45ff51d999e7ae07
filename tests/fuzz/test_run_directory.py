"""Run directories that were damaged or edited: a refusal, or the answer that the run gave; no other exit code."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RECIPE
from tests.fuzz._cases import cases
from unweave.audit.finished_run import finished_run
from unweave.cli import main
from unweave.errors import UnweaveError
from unweave.modalities import read
from unweave.report import overview
from unweave.run import checkpoint, directory
from unweave.run.runner import run

Damage = Callable[[random.Random, Path], None]
# Missed: of a contract that nothing can meet, so that an edit could turn the exit code 3 into 0.
MISSED = RECIPE.replace(
    "contract: none", "contract: {keep: [{metric: loss, absolute: 9}], forget: [{metric: loss, at_least: 99}]}"
)
QUOTED = MISSED.replace("quote: false", "quote: true")


class Ended(Exception):
    """The run ends here."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run, and one that ended after two of its four steps."""
    place = tmp_path_factory.mktemp("runs")
    (place / "recipe.yaml").write_text(QUOTED)
    settings = read(place / "recipe.yaml", ["run.checkpoint_every=1"])
    run(settings, place / "whole")

    def watch(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("unlearning", 3):
            raise Ended

    with pytest.raises(Ended):
        run(settings, place / "cut", watch=watch)
    return place / "whole", place / "cut"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "report.html")


def flipped(drawn: random.Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(drawn.choice((1, 1, 5))):
        if content:
            content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    path.write_bytes(content)


def cut(drawn: random.Random, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: drawn.randrange(len(content) or 1)])


def lengthened(drawn: random.Random, path: Path) -> None:
    path.write_bytes(
        path.read_bytes() + drawn.choice((b"\0", b"{}\n", b"\xff\xfe", b"3\n", b"[1]\n", b'{"step": 1}\n'))
    )


def gone(drawn: random.Random, path: Path) -> None:
    path.unlink()


def a_folder(drawn: random.Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def other(drawn: random.Random, path: Path) -> None:
    contents = (
        "",
        "null",
        "3",
        "[]",
        "{}",
        '"a"',
        "[[1]]",
        "{" * 3,
        "[" * 5000,
        "NaN",
        '{"a": 1}',
        "\ud800",
        "9" * 6000,
        "\0",
    )
    path.write_bytes(drawn.choice(contents).encode("utf-8", "surrogatepass"))


def edited(drawn: random.Random, path: Path) -> None:
    """A place of a JSON file holds something else, or nothing; other files are cut."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return cut(drawn, path)
    inside, key = content, None
    while isinstance(inside, dict | list) and inside and (key is None or drawn.random() < 0.8):
        holder, key = inside, drawn.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
        inside = holder[key]
    if key is None:
        return other(drawn, path)
    if drawn.random() < 0.3:
        del holder[key]
    else:
        holder[key] = drawn.choice([None, True, False, 0, -1, 1e300, "", "x", [], {}, [1], {"a": 1}, "done", "met"])
    path.write_text(json.dumps(content), encoding="utf-8")


def met(drawn: random.Random, path: Path) -> None:
    """The clause that was missed is said to be met, wherever it stands."""
    text = path.read_bytes().replace(b'"met": false', b'"met": true').replace(b'"missed"', b'"met"')
    path.write_bytes(text.replace(b"contract missed", b"contract met"))


DAMAGES: tuple[Damage, ...] = (flipped, cut, lengthened, gone, a_folder, other, edited, edited, edited, met)
STRAYS = (
    "checkpoint/²",
    "checkpoint/000009",
    "checkpoint/x",
    "checkpoint/.000009",
    ".summary.json.1.2",
    "values",
    "\ud800",
)


def damaged(drawn: random.Random, source: Path, place: Path) -> str:
    """A copy of which one or two files are others, and what was done to it."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place)
    done = []
    for _ in range(drawn.choice((1, 1, 2))):
        path, damage = drawn.choice(files(place) or [place / "x"]), drawn.choice(DAMAGES)
        if path.exists():
            damage(drawn, path)
            done.append(f"{damage.__name__} {path.relative_to(place)}")
    if drawn.random() < 0.1:
        stray = place / drawn.choice(STRAYS[:-1])
        if stray.parent.is_dir() and not stray.exists():
            stray.write_bytes(b"x")
            done.append(f"stray {stray.name}")
    return ", ".join(done)


def code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return int(caught.value.code or 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_finished_run(made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What reads it is asked each time; the whole commands, which load data and draw plots, now and then."""
    drawn, ran, refused, place = random.Random(17), 0, 0, tmp_path / "runs" / "run"
    assert code("run", "--resume", shutil.copytree(made[0], place)) == 3
    for number in range(cases(30)):
        what = f"case {number}: {damaged(drawn, made[0], place)}"
        for reads in (directory.finished, overview.read, finished_run):
            try:
                found = reads(place)
                told = found.summary if isinstance(found, overview.Run) else found if isinstance(found, dict) else None
                assert told is None or not all(clause["met"] for clause in told["contract"]), what
            except UnweaveError:
                refused += 1
        if number % 10 == 0:
            assert code("run", "--resume", place) in (2, 3), what
            assert {code("report", place), code("board", tmp_path / "runs")} <= {0, 2}, what
        ran += 1
        capsys.readouterr()
    assert ran == cases(30) and refused > ran


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_run_that_goes_on(made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn, ran, went, place = random.Random(18), 0, 0, tmp_path / "run"
    after = json.loads((made[0] / "summary.json").read_text())["model_after"]
    for number in range(cases(40) // 20):
        what = f"case {number}: {damaged(drawn, made[1], place)}"
        found = code("run", "--resume", place)
        assert found in (2, 3), f"{what}: {found}"
        if found == 3 and "recipe.yaml" not in what:
            assert json.loads((place / "summary.json").read_text())["model_after"] == after, what
        went += found == 3
        ran += 1
        capsys.readouterr()
    assert ran == cases(40) // 20 and went


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_folder(made: tuple[Path, Path], tmp_path: Path) -> None:
    drawn, ran, read_, place = random.Random(19), 0, 0, tmp_path / "checkpoint"
    whole = {str(checkpoint.load(shutil.copytree(made[1] / "checkpoint", tmp_path / "copy"))["run"]["progress"])}  # type: ignore[index]
    for number in range(cases(30)):
        what = f"case {number}: {damaged(drawn, made[1] / 'checkpoint', place)}"
        try:
            states: Any = checkpoint.load(place)
            read_ += states is not None
            assert states is None or states["run"]["progress"]["made"] in (1, 2), what
        except UnweaveError:
            pass
        ran += 1
    assert ran == cases(30) and read_ and whole
