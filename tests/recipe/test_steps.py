"""The step length of a recipe: an optimizer as torch has it, and one whose direction is clipped."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from unweave.errors import ConfigurationError
from unweave.loop import OptimizerStep
from unweave.modalities import read
from unweave.parameters import Mask
from unweave.recipe.sections import NamedSection
from unweave.recipe.steps import stepper
from unweave.run.runner import run
from unweave.run.steps_log import read_steps

RECIPE = "data: {source: digits}\nforget: {class: 3}\ncontract: none\n"


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_an_optimizer_that_clips_keeps_the_mask(name: str) -> None:
    model = nn.Linear(2, 2)
    mask = Mask([torch.ones(2, 2, dtype=torch.bool), torch.ones(2, dtype=torch.bool)])
    made = stepper(NamedSection(name=name, lr=0.1, clip=0.5), model, mask, steps=3)
    assert isinstance(made, OptimizerStep) and made.clip == 0.5 and made.mask is mask
    assert isinstance(stepper(NamedSection(name=name, lr=0.1), model, None, steps=3), torch.optim.Optimizer)


def test_weights_decay_where_it_is_asked() -> None:
    made = stepper(NamedSection(name="sgd", lr=0.1, weight_decay=0.5), nn.Linear(2, 2), None, steps=3)
    assert isinstance(made, torch.optim.SGD) and made.param_groups[0]["weight_decay"] == 0.5


def test_a_clip_below_zero_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE + "step: {name: sgd, lr: 0.1, clip: -1.0}\n")
    with pytest.raises(ConfigurationError, match=r"r.yaml:4: step.clip must be .*found -1"):
        read(tmp_path / "r.yaml")


def test_a_step_is_no_longer_than_its_clip_and_a_run_goes_on_with_it(tmp_path: Path) -> None:
    """The length per unit of direction that is noted is lr times the clip over the direction's length."""
    (tmp_path / "r.yaml").write_text(
        RECIPE + "training: {epochs: 1}\nmethod: {name: gradient_ascent}\nguards: {near_duplicates: off}\n"
        "step: {name: sgd, lr: 0.5, clip: 1.0e-3}\nrun: {steps: 2, checkpoint_every: 1}\n"
        "evaluation: {quote: false, retrained: 0}\n"
    )
    recipe, out = read(tmp_path / "r.yaml"), tmp_path / "out"
    summary = run(recipe, out)
    steps = read_steps(out / "steps.jsonl")
    assert len(steps) == summary["steps"] == 2 and all(0 < step["lr"] < 0.5 for step in steps)
    (out / "summary.json").unlink()
    assert run(recipe, out, resume=True)["model_after"] == summary["model_after"]


SHARES = {
    "constant": [1.0, 1.0, 1.0, 1.0],
    "linear": [1.0, 0.75, 0.5, 0.25],
    "cosine": [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)],
}


@pytest.mark.parametrize("schedule", SHARES)
def test_a_schedule_is_over_the_steps_of_the_run_and_goes_on(schedule: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        RECIPE + "training: {epochs: 1}\nmethod: {name: gradient_ascent}\nguards: {near_duplicates: off}\n"
        f"step: {{name: sgd, lr: 0.01, schedule: {schedule}}}\nrun: {{steps: 4, checkpoint_every: 1}}\n"
        "evaluation: {quote: false, retrained: 0}\n"
    )
    recipe, out = read(tmp_path / "r.yaml"), tmp_path / "out"
    summary = run(recipe, out)
    expected = [pytest.approx(0.01 * share) for share in SHARES[schedule]]
    assert [step["lr"] for step in read_steps(out / "steps.jsonl")] == expected
    newest = max((path for path in (out / "checkpoint").iterdir() if path.name.isdigit()), key=lambda p: int(p.name))
    shutil.rmtree(newest)
    (out / "summary.json").unlink()
    assert run(recipe, out, resume=True)["model_after"] == summary["model_after"]
    assert [step["lr"] for step in read_steps(out / "steps.jsonl")] == expected


def test_an_unknown_schedule_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE + "step: {name: adam, lr: 0.1, schedule: cosin}\n")
    with pytest.raises(ConfigurationError, match=r"r.yaml:4: step.schedule.*cosin"):
        read(tmp_path / "r.yaml")
