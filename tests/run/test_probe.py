"""EUPMU's estimator "probe" in a recipe: a part of the retain set is held out for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unweave import modalities
from unweave.audit.experiment import Experiment
from unweave.audit.models import make
from unweave.modalities import read
from unweave.modalities.images import job as prepare
from unweave.run.runner import run
from unweave.run.session import Session
from unweave.run.steps_log import read_steps

Write = Callable[..., Path]
PROBE = ["method={name: eupmu, estimator: probe, dual_lr: 5.0, tolerance: -5.0}", "step={name: sgd, lr: 0.05}"]


def started(recipe: Write, *changes: str) -> tuple[Session, prepare.ImageJob]:
    settings = read(recipe(), [*PROBE, *changes])
    asked = prepare.request(settings)
    return Session.start(settings, asked, modalities.original(settings, asked)), asked


def images(batches: list[torch.Tensor]) -> set[bytes]:
    return {image.numpy().tobytes() for batch in batches for image in batch}


@pytest.mark.parametrize("contract", ["contract=none", "contract={keep: [{metric: loss, absolute: 9.0}]}"])
def test_no_step_trains_on_the_probe(recipe: Write, contract: str) -> None:
    session, asked = started(recipe, contract, "run.micro=3")
    again, other = started(recipe, contract)[0], started(recipe, contract, "run.seed=1")[0]
    probe = images([batch[0] for batch in session.parts.probe])
    assert [len(batch[0]) for batch in session.parts.probe] == [11, 11, 10] and len(probe) == 32, "run.retain_batch"
    assert probe == images([again.parts.probe[0][0]]) != images([other.parts.probe[0][0]])
    trained = session.parts.pairs._sides[1]._data
    held = 0 if session.parts.keeper is None else 2 * len(session.parts.keeper._sets.guard)
    assert len(trained) == len(asked.retain) - 32 - held and not probe & images([trained.images])
    assert len(set(session.parts.probe[0][1].tolist() + session.parts.probe[1][1].tolist())) > 5, (
        "every label has its share"
    )
    assert started(recipe, "run.retain_batch=1000")[0].parts.probe[0][0].shape[0] == len(asked.retain) // 10
    assert started(recipe, "method={name: eupmu}")[0].parts.probe == ()


def test_a_run_and_its_evidence(recipe: Write, tmp_path: Path) -> None:
    settings = read(recipe(), PROBE)
    summary = run(settings, tmp_path / "out")
    assert (summary["status"], summary["steps"]) == ("done", 4)
    weights = [row["weights"][0][1] for row in read_steps(tmp_path / "out" / "steps.jsonl")]
    assert weights[0] == 0.0 and max(weights) > 0.0, "the multiplier follows the probe"
    assert (
        make(Experiment(settings, prepare.request(settings)), "unlearned", 0).about["sha256"] == summary["model_after"]
    )
