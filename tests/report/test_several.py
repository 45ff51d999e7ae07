"""Several runs on one page: compared, and listed; what cannot be read is named, and never fatal."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.report.test_pages import HOSTILE, checked, run_directory
from unweave.cli import main


def made(folder: Path, name: str, **changes: object) -> Path:
    directory = folder / name
    directory.mkdir(parents=True)
    run_directory(directory)
    summary = json.loads((directory / "summary.json").read_text()) | changes
    (directory / "summary.json").write_text(json.dumps(summary))
    return directory


def code(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return int(caught.value.code or 0)


def rows(text: str, number: int = 0) -> list[list[str]]:
    root = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    body = list(root.iter("tbody"))[number]
    return [["".join(cell.itertext()) for cell in row] for row in body]


def test_runs_are_compared(tmp_path: Path) -> None:
    first, second = made(tmp_path, "a"), made(tmp_path, f"b {HOSTILE[1:7]}", method=HOSTILE)
    page = tmp_path / "page.html"
    assert code("report", first, second, "-o", page) == 0
    text = checked(page)
    found = rows(text)
    assert [row[0] for row in found] == [first.as_posix(), second.as_posix()] and found[1][3] == HOSTILE
    assert (
        found[0][6] == "2.0"
        and found[0][1] == "Not shown"
        and "one request, one original model" in text
        and text.count("<svg") == 1
    )


def test_runs_of_other_requests_are_compared_with_a_warning(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert code("report", made(tmp_path, "a"), made(tmp_path, "b", forget=11), "-o", page) == 0
    assert "they differ in size of the forget set" in checked(page)


def test_runs_that_were_evaluated_otherwise_are_compared_with_a_warning(tmp_path: Path) -> None:
    first, second = made(tmp_path, "a"), made(tmp_path, "b")
    for folder, section in ((first, "{guidance: 1.0, quote: true}"), (second, "{guidance: 2.0, quote: false}")):
        (folder / "recipe.yaml").write_text(f"evaluation: {section}\n")
    assert code("report", first, second, "-o", tmp_path / "page.html") == 0
    assert "they were evaluated otherwise (guidance)" in checked(tmp_path / "page.html")


def test_a_board_lists_every_run_and_names_what_it_cannot_read(tmp_path: Path) -> None:
    missed = [{"side": "keep", "clause": "loss", "group": None, "limit": 0.1, "met": False}]
    made(tmp_path, "a")
    made(tmp_path, "deep/er/b", contract=missed, status="budget")
    (made(tmp_path, "torn") / "scores.json").write_text("{")
    (made(tmp_path, "strange") / "summary.json").write_text("[]")
    (made(tmp_path, "unfinished") / "summary.json").unlink()
    made(tmp_path, "a/model/not a run of its own")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "row").mkdir()
    (tmp_path / "row" / "sequence.json").write_text("{}")
    assert code("board", tmp_path) == 0
    text = (tmp_path / "board.html").read_text()
    found = rows(text)
    assert (
        [row[0] for row in found] == ["a", "deep/er/b"] and found[1][5] == "missed: loss" and found[1][1] == "Refuted"
    )
    assert 'href="deep/er/b/report.html"' in text and HOSTILE not in text
    assert rows(text, 1) == [["row", "sequence of requests"]]
    assert "One original and one unlearned model: the intervals" not in text
    broken = dict(row for row in rows(text, 2))
    assert set(broken) == {"torn", "strange", "unfinished"} and "unweave run --resume" in broken["unfinished"]


def test_bad_input_is_one_message_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, nowhere = made(tmp_path, "runs/a"), tmp_path / "nowhere"
    (tmp_path / "empty").mkdir()
    cases = {
        ("report", run, nowhere, tmp_path): "2 faults",
        ("report", run, run): "found one of them twice",
        ("report", run, "-o", tmp_path / "x.html"): "--output is for a comparison",
        ("board", nowhere): "expected a folder of runs",
        ("board", tmp_path / "empty"): "found none",
    }
    for arguments, says in cases.items():
        assert code(*arguments) == 2, arguments
        assert says in capsys.readouterr().err
    assert len(cases) == 5
