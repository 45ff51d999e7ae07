"""A method without steps in a recipe: one change of the weights, under the same contract, record and evidence."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from unweave import modalities
from unweave.audit.experiment import Experiment
from unweave.audit.models import make
from unweave.cli import main
from unweave.contract.keeper import ONLY
from unweave.errors import ConfigurationError
from unweave.modalities import read
from unweave.modalities.images import job as prepare
from unweave.oneshot import ONESHOT, ssd
from unweave.report.build import build
from unweave.run.runner import run
from unweave.run.session import Session
from unweave.run.steps_log import read_steps
from unweave.store import tensors_sha256

Write = Callable[..., Path]
SSD = "method={name: ssd, selection: 5, dampening: 0.5}"
MET = "contract={keep: [{metric: loss, absolute: 9.0}], forget: [{metric: loss, at_least: 2.2}]}"
MISSED = "contract={keep: [{metric: loss, absolute: 1.0e-6, clip: 1.0e-5}], forget: [{metric: loss, at_least: 90}]}"


def test_a_run_leaves_what_any_run_leaves(recipe: Write, tmp_path: Path) -> None:
    settings, folder = read(recipe(), [SSD, MET]), tmp_path / "out"
    summary = run(settings, folder)
    assert (summary["status"], summary["steps"], summary["method"]) == ("done", 1, "ssd")
    assert summary["stop_reason"] == "contract met" and all(clause["met"] for clause in summary["contract"])
    asked = prepare.request(settings)
    original = modalities.original(settings, asked)
    retain = Session.start(settings, asked, original).parts.pairs._sides[1]._data
    assert 0 < len(retain) < len(asked.retain), "what the contract reads is held out"
    expected = copy.deepcopy(original)
    assert ssd(expected, asked.task, asked.forget, retain, selection=5, dampening=0.5).share > 0
    found = safetensors.torch.load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in expected.state_dict().items())
    (row,) = read_steps(folder / "steps.jsonl")
    assert row["accepted"] and row["realised"][0] < 0 and row["weights"] == [[0.0, 0.0]]
    assert build(folder).read_text().count("ssd")
    again = run(read(folder / "recipe.yaml"), tmp_path / "again")
    assert again["model_after"] == summary["model_after"] == tensors_sha256(found)
    made = make(Experiment(settings, asked), "unlearned", 0)
    assert made.about["sha256"] == summary["model_after"] and made.about["steps"] == 1


def test_a_change_that_breaks_the_contract_is_taken_back(
    recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", str(recipe()), "-s", SSD, "-s", MISSED, "-o", str(tmp_path / "o")]
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    told = capsys.readouterr().out
    assert caught.value.code == 3 and "MISSED" in told and "done after 1 step, " in told
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["model_after"] == summary["model_before"] and summary["stop_reason"] == ONLY
    assert [clause["met"] for clause in summary["contract"]] == [True, False]
    assert any("CHANGED NOTHING" in text for text in summary["warnings"])


def test_killed_after_the_change_it_is_not_made_twice(recipe: Write, tmp_path: Path) -> None:
    settings = read(recipe(), [SSD])

    def kill(phase: str, done: int, total: int) -> None:
        if phase == "scoring the unlearned model":
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run(settings, tmp_path / "out", watch=kill)
    summary = run(settings, tmp_path / "out", resume=True)
    assert summary["model_after"] == run(settings, tmp_path / "whole")["model_after"] != summary["model_before"]
    assert summary["steps"] == 1 == len(read_steps(tmp_path / "out" / "steps.jsonl"))


def test_ctrl_c_in_the_middle_of_the_change(recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @wraps(ssd)
    def interrupted(*arguments: Any, **settings: Any) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return ssd(*arguments, **settings)

    settings = read(recipe(), [SSD, "evaluation.retrained=1"])
    monkeypatch.setitem(ONESHOT, "ssd", interrupted)
    assert run(settings, tmp_path / "out")["status"] == "interrupted"
    monkeypatch.setitem(ONESHOT, "ssd", ssd)
    summary = run(settings, tmp_path / "out", resume=True)
    assert (summary["status"], summary["steps"], summary["stop_reason"]) == ("done", 1, ONLY)


@pytest.mark.parametrize(
    "changes, told",
    [
        (["method={name: ssd, dampning: 2}"], "Did you mean 'dampening'"),
        (["method={name: ssd, selection: -1}"], "method.selection must be a number in (0, inf); found -1"),
        (["method={name: ssd, over: npo}"], "takes no steps and no other row's losses"),
        (["method={name: hamu_q, over: ssd}"], "unknown method 'ssd', or one without losses"),
        (["method={name: ssd}", "step={name: adam, lr: 0.1}"], "ssd takes no steps: leave the section out"),
        (["method={name: ssd}", "run.relearner=2"], "run.relearner: ssd takes no steps along a forget loss"),
        (["method={name: ssd}", "run.until=3.0"], "run.until: ssd takes no steps along a forget loss"),
        (["method={name: sdd}"], "Did you mean 'ssd'"),
        (["method={name: uce}"], "method: uce is about diffusion models and needs tasks.Diffusion"),
        (["method={name: uce, lamb: 0}"], "method.lamb must be a number in (0, inf); found 0"),
    ],
)
def test_faults(recipe: Write, changes: list[str], told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(recipe(), changes)
    assert len(caught.value.faults) == 1 and told in caught.value.faults[0]


@pytest.mark.parametrize("repair", ["true", "lean"])
def test_an_end_and_a_relearner_are_for_its_repair(recipe: Write, repair: str) -> None:
    settings = read(recipe(), [SSD, f"run.repair={repair}", "run.until=3.0", "run.relearner=2"])
    assert (settings.run.until, settings.run.relearner) == (3.0, 2)


def test_the_catalogue_lists_it(capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = {}
    for arguments in (["methods", "--json"], ["methods", "ssd"]):
        try:
            main(arguments)
        except SystemExit as end:
            assert not end.code
        found[arguments[-1]] = capsys.readouterr().out
    entry = next(each for each in json.loads(found["--json"]) if each["name"] == "ssd")
    assert entry["hyperparameters"] == {"selection": 10.0, "dampening": 1.0, "batch": 64}
    assert "2308.07707" in entry["paper"] and "method:\n  name: ssd\n  selection: 10.0" in found["ssd"]
