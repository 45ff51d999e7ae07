"""A table of customers through every command: a run, resumed and scored, requests in a row, the ledger."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.modalities.records._tables import RECIPE, command, result, written
from tests.run.test_kills import digest
from tests.run.test_resume import ended
from unweave.audit.collect import evidence
from unweave.ledger import Ledger
from unweave.modalities import read
from unweave.report.build import build
from unweave.run.runner import run

pytestmark = pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
Told = pytest.CaptureFixture[str]
ASKED = next(line for line in RECIPE.splitlines() if line.startswith("forget")) + "\n"
SAID = RECIPE.replace("drop: [spend, set]", "drop: [spend], split: set")
METHODS = ("hamu_q", "hamu_u", "eupmu", "ofmu", "unilateral_surgery", "graddiff", "ssd")


def test_a_run_is_resumed_and_scored(tmp_path: Path, capsys: Told) -> None:
    recipe, whole, other = written(tmp_path), tmp_path / "whole", tmp_path / "other"
    assert command("run", recipe, "-o", whole) in (0, 3)
    summary, models = result(whole), result(whole, "scores.json")["models"]
    assert summary["request"] == "9 people, 18 rows" and summary["forget"] == 18 and summary["steps"] > 0
    assert models.keys() == {"original", "unlearned", "retrained"} and models["original"]["FA"]["n"] == 18
    ended(read(recipe), other, "unlearning", done=3)
    assert command("run", recipe, "-o", other, "--resume") in (0, 3)
    assert digest(whole) == digest(other) and result(other, "scores.json")["models"] == models
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert "9 people, 18 rows" in page and "city Bern, plan" in page, "examples are shown as they stand in the table"
    assert "C00" not in page and "12 of them, not shown here" in page, "but for whose they are"
    assert "left yes" in page and not re.search(r"left (yes|no), (spend|set) ", page), "what is dropped is not shown"
    capsys.readouterr()
    assert command("evaluate", whole) == 0 and "FA" in capsys.readouterr().out
    assert (
        command("diagnose", recipe) == 0 and "9 people, 18 rows: 18 to forget, 174 to keep" in capsys.readouterr().out
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_method_runs_on_a_table(tmp_path: Path, method: str) -> None:
    recipe = read(
        written(tmp_path), [f"method.name={method}", "contract=none", "run.steps=2", "evaluation.retrained=0"]
    )
    summary = run(recipe, tmp_path / "out")
    assert summary["status"] in ("done", "unchanged") and summary["steps"] >= 1


def test_an_amount_is_unlearned(tmp_path: Path) -> None:
    recipe = read(written(tmp_path), ["data.target=spend", "data.drop=[set, left]", "run.steps=2"])
    summary, again = run(recipe, tmp_path / "out"), read(tmp_path / "out" / "recipe.yaml")
    models: dict[str, Any] = result(tmp_path / "out", "scores.json")["models"]
    assert (
        "loss" in summary["contract"][0]["clause"]
        and models["original"]["test_absolute_error"]["unit"] == "the targets'"
    )
    assert again.task.name == "regression" and again.task.scale > 0, "it is known what the loss was measured in"


def test_requests_in_a_row_and_one_that_was_changed(tmp_path: Path, capsys: Told) -> None:
    several = SAID.replace(
        ASKED, "requests: [{id: a, where: {customer: [C000, C001]}}, {id: b, where: {customer: C001}}]\n"
    )
    recipe, folder = written(tmp_path, several), tmp_path / "out"
    assert command("run", recipe, "-o", folder, "-s", "run.steps=2") == 2
    assert "the forget set must hold at least one example" in capsys.readouterr().err, "C001 is gone with the first"
    recipe = written(tmp_path, several.replace("{customer: C001}}]", "{customer: [C001, C002, C004]}}]"))
    assert command("run", recipe, "-o", folder, "-s", "run.steps=2") in (0, 3)
    done = result(folder, "sequence.json")
    assert [(each["text"], each["forget"]) for each in done["requests"]] == [
        ("2 people, 4 rows", 4), ("3 people, 6 rows", 4)
    ]  # fmt: skip


def test_the_ledger_takes_people(tmp_path: Path, capsys: Told) -> None:
    recipe, folder = written(tmp_path, SAID.replace(ASKED, "")), tmp_path / "ledger"
    for name, ids in (("R-1", ("C000", "C001", "C002")), ("R-2", ("C004", "C005"))):
        (tmp_path / f"{name}.txt").write_text("\n".join(ids))
        people = ("--ids", tmp_path / f"{name}.txt", "--of", tmp_path / "customers.csv", "--column", "customer")
        assert command("requests", "add", name, *people, "--ledger", folder) == 0
    assert command("requests", "run", recipe, "--ledger", folder) in (0, 3), capsys.readouterr().err
    outcomes = {name: standing.outcome for name, standing in Ledger(folder).read()[1].requests.items()}
    bodies = [outcome.body for outcome in outcomes.values() if outcome is not None]
    assert [(body["records"]["ids"], body["records"]["named"]) for body in bodies] == [(3, 6), (2, 4)]
    capsys.readouterr()
    assert command("requests", "verify", "--ledger", folder) == 0
    assert command("requests", "add", "R-3", "--ids", tmp_path / "R-1.txt", "--of", recipe, "--column", "who") == 2


@pytest.mark.parametrize(
    "overrides", [[], ["data.target=spend", "data.drop=[left]", "task={name: regression, scale: 0.8}"]]
)
def test_evidence_over_several_trainings(tmp_path: Path, overrides: list[str]) -> None:
    ours = ["run.steps=2", "forget.random=0.25", "training.epochs=4", "evidence={runs: 2, retrained: 2}", *overrides]
    recipe = read(written(tmp_path, SAID.replace(ASKED, "forget: {}\n")), ours)
    found = evidence(recipe, tmp_path / "out")
    assert found["status"] == "complete" and not found["pending"]
    lone = ["MIA_AUC"]
    assert list(found["gaps"]["unlearned"]["metrics"]) == (lone if overrides else ["UA", "RA", "TA", "MIA_AUC"])
    assert found["attacks"]["triple"].keys() == ({"loss", "lira"} if overrides else {"loss", "joined", "lira", "rmia"})
    assert [each["source"] for each in found["robustness"]["relearning"]] == ["forget", "related"]
    assert "report.html" in str(build(tmp_path / "out"))
