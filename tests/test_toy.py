"""A modality that stands in the tests alone: everything that is done with images and texts is done with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.run.test_kills import digest
from tests.run.test_resume import ended
from tests.toy import TABLES
from unweave.cli import main
from unweave.ledger import Ledger
from unweave.modalities import MODALITIES, read
from unweave.report.overview import table
from unweave.report.run_page import load

RECIPE = """\
data: {source: table}
forget: {random: 0.1}
contract: {keep: [{metric: loss, relative: 0.6}]}
run: {steps: 40, forget_batch: 16, checkpoint_every: 1}
"""
BRIEF = RECIPE.replace("steps: 40", "steps: 10") + "training: {epochs: 10}\n"  # for what does not read how well it went
SEVERAL = BRIEF.replace("forget: {random: 0.1}\n", "requests: [{id: a, random: 0.05}, {id: b, random: 0.1, seed: 1}]\n")
ALONE = RECIPE.replace("forget: {random: 0.1}\n", "training: {epochs: 30}\n")
Write = Callable[..., Path]
Told = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODALITIES, "tables", TABLES)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str = RECIPE, name: str = "recipe.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return int(caught.value.code or 0)


def result(folder: Path, name: str = "summary.json") -> Any:
    return json.loads((folder / name).read_text())


def page(folder: Path) -> str:
    """The text of a page, where nats are those of log-odds alone."""
    text = (folder / "report.html").read_text()
    for meant in ("log-odds, nats", "error, in nats", "log-odds of an error, nats", "set&#39;s, nats", "set's, nats"):
        text = text.replace(meant, "")
    assert "nats" not in text
    return text


def test_a_folder_of_three_hundred_lines_and_one_entry() -> None:
    files = sorted(Path(__file__).with_name("toy").glob("*"))
    assert sum(len(path.read_text().splitlines()) for path in files if path.is_file()) <= 300
    own = {path.stem for path in files if path.suffix == ".py"}
    assert own == {"__init__", "tables"}, "all of it was counted"


def test_a_request_is_diagnosed(write: Write, capsys: Told) -> None:
    assert command("diagnose", write()) == 0
    told = capsys.readouterr().out
    assert "a random 10 % of the table: 60 to forget, 540 to keep" in told and "hardest rows" in told
    assert "rise of the forget loss in nats" not in told, "a squared error is no log-odds"
    assert command("diagnose", write(SEVERAL), "--json") == 0
    assert [len(quote["forget"]) for quote in json.loads(capsys.readouterr().out)] == [30, 55]


@pytest.mark.slow
def test_a_run_is_resumed_and_evaluated(write: Write, tmp_path: Path, capsys: Told) -> None:
    whole, other = tmp_path / "whole", tmp_path / "other"
    assert command("run", write(), "-o", whole) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "loss rises by at most" in told and "squared error" in told and "contract met" in told
    clauses = [clause["clause"] for clause in result(whole)["contract"]]
    assert clauses[0].count(" squared error") == 1 and "unseen" in clauses[1]
    ended(read(write()), other, "unlearning", done=3)
    assert command("run", write(), "-o", other, "--resume") == 0
    assert digest(whole) == digest(other) and result(whole, "scores.json") == result(other, "scores.json")
    assert "squared error after" in (shown := page(whole)) and "evaluation.quote" not in shown
    assert "unweave evidence recipe.yaml, then" not in shown, "nobody knows how to compare several trainings"
    capsys.readouterr()
    assert command("evaluate", whole, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"]["unlearned"] == result(whole, "scores.json")["models"]["unlearned"]
    assert found["gaps"]["unlearned"]["average_gap"]["unit"] == "squared error"
    held = table("", {"run": load(whole)}).columns
    assert "forget error" in held and "test error" in held
    assert "<li>forget error: " in shown, "what was found, of a modality that was entered later"


def test_a_table_of_ones_own(write: Write, tmp_path: Path) -> None:
    draws = np.random.default_rng(1).normal(size=(240, 3))
    rows = write("\n".join(["a,b,c", *(",".join(map(repr, row)) for row in draws.tolist())]), "own.csv")
    forgotten = write("3\n5\n8\n", "rows.txt")
    recipe = write(
        f"data: {{source: table, path: {rows.name}}}\nforget: {{indices: {forgotten.name}}}\ncontract: none\n"
    )
    assert command("run", recipe, "-o", tmp_path / "out", "-s", "run.steps=2") == 0
    assert result(tmp_path / "out")["retain"] == 177 and result(tmp_path / "out")["forget"] == 3


def test_requests_in_a_row(write: Write, tmp_path: Path, capsys: Told) -> None:
    folder = tmp_path / "out"
    assert command("run", write(SEVERAL), "-o", folder) in (0, 3)
    done = result(folder, "sequence.json")
    assert done["status"] == "done" and [each["id"] for each in done["requests"]] == ["a", "b"]
    assert all(
        "squared error" in result(folder / each["directory"])["contract"][0]["clause"] for each in done["requests"]
    )
    assert "a random 5 % of the table" in page(folder)
    before = (folder / "sequence.json").read_bytes()
    assert command("run", write(SEVERAL), "-o", folder, "--resume") in (0, 3)
    assert (folder / "sequence.json").read_bytes() == before


@pytest.mark.slow
def test_the_ledger(write: Write, tmp_path: Path, capsys: Told) -> None:
    folder = tmp_path / "ledger"
    for name, rows in (("R-1", range(0, 60, 2)), ("R-2", range(100, 160)), ("R-3", range(0, 10, 2))):
        file = write("\n".join(map(str, rows)), f"{name}.txt")
        assert command("requests", "add", name, "--rows", file, "--ledger", folder) == 0
    assert command("requests", "run", write(ALONE), "--ledger", folder) in (0, 3)
    ledger = Ledger(folder)
    outcomes = {name: standing.outcome for name, standing in ledger.read()[1].requests.items()}
    assert all(outcome is not None for outcome in outcomes.values())
    certified = [outcome.body for outcome in outcomes.values() if outcome and outcome.kind == "certificate"]
    assert certified and all(body["claim"]["level"] for body in certified)
    assert {"keep", "forget"} == {clause["side"] for clause in certified[0]["contract"]}
    assert any("squared error" in clause["clause"] for clause in certified[0]["contract"])
    model = folder / certified[0]["model"]["file"]
    card = (model.parent if model.is_file() else model) / "README.md"
    assert "tabular-regression" in card.read_text() and "Mean squared error on unseen rows" in card.read_text()
    assert command("requests", "verify", "--ledger", folder) == 0
    page(folder / "runs" / "0001")
