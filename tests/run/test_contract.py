"""A recipe's contract: what is held out, what the run says of it, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unweave import modalities
from unweave.cli import main
from unweave.modalities import read
from unweave.modalities.by_row import exchangeable
from unweave.modalities.images.job import mislabelled, request
from unweave.run.runner import run
from unweave.run.session import Session
from unweave.store import tensors_sha256

Write = Callable[..., Path]
MET = "contract={keep: [{metric: loss, absolute: 3.0}], forget: [{metric: loss, at_least: 0.0001}], every: 2}"
MISSED = "contract={keep: [{metric: accuracy, absolute: 0.9}], forget: [{metric: loss, at_least: 90}], every: 2}"

STATE = ("forget_accuracy", "lost", "bound")  # a look as a point in the plane of forgetting and utility


def code(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return int(caught.value.code or 0)


def test_no_step_sees_what_is_measured_on(recipe: Write) -> None:
    settings = read(recipe(), [MISSED])
    asked = request(settings)
    session = Session.start(settings, asked, modalities.original(settings, asked))
    assert session.parts.keeper is not None
    sets = session.parts.keeper._sets
    trained = session.parts.pairs._sides[1]._data
    parts = [{image.numpy().tobytes() for image in part.images} for part in (trained, sets.guard, sets.final)]
    assert [len(part) for part in (trained, sets.guard, sets.final)] == [
        len(asked.retain) - 2 * len(sets.guard),
        *[len(sets.guard)] * 2,
    ]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_missed_is_exit_code_3_and_in_the_summary(
    recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code("run", recipe(), "-s", MISSED, "-o", tmp_path / "o") == 3
    out = capsys.readouterr().out
    assert "accuracy falls by at most 90 points" in out and "MISSED" in out and "of the run's time" in out
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["status"] == "done" and summary["stop_reason"] == "steps used up"
    keep, forget = summary["contract"]
    assert (keep["side"], keep["met"], forget["side"], forget["met"]) == ("keep", True, "forget", False)
    assert set(keep) == {"side", "clause", "group", "limit", "guard", "final", "met", "metric", "clip", "state"}
    assert (keep["metric"], forget["metric"]) == ("accuracy", "loss")
    assert {"measured", "bound", "n", "met"} <= set(keep["guard"]) and keep["final"]["n"] == keep["guard"]["n"]
    reading = summary["contract_reading"]
    assert set(reading) == {"looks", "every", "seconds", "share", "rollbacks", "left", "path", "notes"}
    assert [look["step"] for look in reading["path"]] == [2, 4] and 0 < reading["share"] < 1
    assert set(reading["path"][0]) == {"step", "used", "forgotten", "kept", "rolled_back", *STATE}
    assert all(look[key] is not None for look in reading["path"] for key in STATE)
    assert "The contract" in (tmp_path / "o" / "report.html").read_text()


def test_met_is_exit_code_0(recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code("run", recipe(), "-s", MET, "-o", tmp_path / "o", "--json") == 0
    found = json.loads(capsys.readouterr().out)["summary"]
    assert found["status"] == "done" and all(row["met"] for row in found["contract"])
    assert found["stop_reason"].startswith("nothing to forget") and "CHANGED NOTHING" in found["warnings"][0]


def test_no_contract(recipe: Write, tmp_path: Path) -> None:
    summary = run(read(recipe()), tmp_path / "o")
    assert summary["contract"] == [] and summary["contract_reading"] is None


@pytest.mark.parametrize("step", [["step.name=trust"], ["step.name=sgd", "step.lr=0.5", "step.momentum=0.9"]])
def test_resumed_under_a_contract_it_is_the_run_that_was_never_interrupted(
    recipe: Write, tmp_path: Path, step: list[str]
) -> None:
    """With a rollback behind it and a snapshot to go back to."""
    keep = "keep: [{metric: loss, absolute: 0.02, clip: 0.5}]"
    tight = f"contract={{{keep}, forget: [{{metric: loss, at_least: 90}}], every: 2}}"
    settings = read(recipe(), [tight, "run.steps=12", "run.checkpoint_every=5", "method.name=graddiff", *step])
    whole = run(settings, tmp_path / "whole")

    def interrupt(phase: str, done: int, total: int) -> None:
        if phase == "unlearning" and done == 7:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    first = run(settings, tmp_path / "parts", watch=interrupt)
    assert (first["status"], first["steps"]) == ("interrupted", 7)
    second = run(settings, tmp_path / "parts", resume=True)
    assert second["model_after"] == whole["model_after"] and second["contract"] == whole["contract"]
    timeless: list[Any] = [{k: s["contract_reading"][k] for k in ("path", "rollbacks")} for s in (whole, second)]
    assert timeless[0] == timeless[1] and whole["contract_reading"]["looks"] >= 4


def test_retrained_is_trained_before_the_first_step(recipe: Write, tmp_path: Path) -> None:
    phases: list[str] = []
    asked = "contract={keep: [], forget: [retrained], every: 2}"
    summary = run(read(recipe(), [asked]), tmp_path / "o", watch=lambda phase, *_: phases.append(phase))
    assert phases.index("retraining without the forget set (seed 1)") < phases.index("unlearning")
    assert summary["contract"][0]["clause"].endswith("of the retrained model's")


def test_the_promise_is_told_when_the_run_begins(recipe: Write, tmp_path: Path) -> None:
    told: list[Any] = []
    run(read(recipe(), ["contract={}"]), tmp_path / "o", promise=lambda clauses, notes: told.append((clauses, notes)))
    ((clauses, notes),) = told
    assert [c.side for c in clauses] == ["keep", "forget", "forget"] and "no less can be decided" in notes[0]
    assert "removed whole" in notes[-1]


def test_the_holdout_is_exchangeable_with_the_forget_set(recipe: Write) -> None:
    a_class = request(read(recipe()))
    assert set(a_class.holdout.labels.tolist()) == {3}
    assert len(a_class.holdout) == int((a_class.test.labels == 3).sum())
    random = request(read(recipe(), ["forget={random: 0.2}"]))
    shares = [
        labels.bincount(minlength=10).double() / len(labels) for labels in (random.forget.labels, random.holdout.labels)
    ]
    assert float((shares[0] - shares[1]).abs().max()) < 0.01 and len(random.holdout) > 300
    wrong = request(read(recipe(), ["forget={poison: 0.1}"]))
    assert bool((wrong.holdout.labels != wrong.test.labels).all()) and len(wrong.holdout) == len(wrong.test)
    shift = (wrong.holdout.labels - wrong.test.labels) % 10
    assert set(shift.tolist()) == set(range(1, 10))


def test_a_label_that_the_test_set_lacks_leaves_no_holdout(recipe: Write) -> None:
    test = request(read(recipe())).test
    assert len(exchangeable(test, torch.tensor([3, 11]))) == 0
    assert tensors_sha256({"y": mislabelled(test, 10, 0).labels}) == tensors_sha256(
        {"y": mislabelled(test, 10, 0).labels}
    )


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_three_records_end_as_not_shown(recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Console, page, records and exit code say so in one voice, also when the finished run is told again."""
    rows = tmp_path / "rows.txt"
    rows.write_text("3\n70\n151\n")
    contract = "contract={keep: [{metric: accuracy, absolute: 0.9}], forget: [unseen], every: 2}"
    arguments = ["run", recipe(), "-s", f"forget={{indices: {rows}}}", "-s", contract, "-o", tmp_path / "o"]
    for again in ([], ["--resume"]):
        assert code(*arguments, *again) == 3
        out = " ".join(capsys.readouterr().out.split())
        summary = json.loads((tmp_path / "o" / "summary.json").read_text())
        keep, forget = summary["contract"]
        assert (keep["state"], forget["met"]) == ("met", False)
        if forget["state"] == "undecided":
            assert "contract not shown: 1 of 2 clauses undecided" in out and "UNDECIDED" in out and "MISSED" not in out
        assert "contract met" not in out and summary["stop_reason"] != "contract met"
        page = (tmp_path / "o" / "report.html").read_text()
        assert "contract met" not in page and ("not shown" in page or forget["state"] == "missed")
    assert "chance" in forget["final"]["note"] and forget["final"]["n"] == 3
