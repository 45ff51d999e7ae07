"""What is compared: headline methods at their defaults, baselines with one setting each, and the two ends of the scale.

A baseline's rate is the one of two or three (3e-4 to 1e-2) that left the least to a membership attack on digits, on one
training that enters nothing else. Every method runs under the same contract.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from world import World

import unweave
from unweave.evaluation.outputs import predict
from unweave.evaluation.scores import accuracy
from unweave.modalities.images.tensors import TensorImages

HEADLINE = ("hamu_q", "hamu_u", "eupmu", "unilateral_surgery", "ofmu")
ENDS = ("original", "retrained")
"""Nothing done, and an exact method: what every attack has to find, and what none may."""


@dataclass(frozen=True)
class Setting:
    """A learning rate of Adam, and arguments; None: the trust region."""

    lr: float | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


SETTINGS = {name: Setting() for name in HEADLINE} | {
    "finetune": Setting(1e-2),
    "graddiff": Setting(1e-3),
    "random_label": Setting(1e-3),
    "scrub": Setting(1e-3, {"rounds": 10}),
}
METHODS = (*ENDS, *SETTINGS)


def unlearned(world: World, original: nn.Module, name: str, forget: TensorImages, retain: TensorImages, seed: int):
    """The model after a method, under the contract; and why it ended, and in how many steps."""
    setting, size = SETTINGS[name], world.size

    def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        assert setting.lr is not None
        return torch.optim.Adam(parameters, lr=setting.lr * size.rates)

    method = unweave.METHODS[name](world.task, original, **setting.arguments)
    return unweave.unlearn(
        original,
        forget=forget,
        retain=retain,
        method=method,
        step="trust" if setting.lr is None else adam,
        contract=contract(world, original),
        repair=False,  # the runs of the page end at the first state that meets it
        steps=size.steps,
        forget_batch=size.forget_batch,
        retain_batch=size.retain_batch,
        seed=seed,
        guards=unweave.Guards(near_duplicates="off"),
    )


def contract(world: World, original: nn.Module) -> unweave.Contract:
    """Held-out retain accuracy falls by what is tolerated at most; on the forget set it is that of unseen examples."""
    enough = world.enough
    if enough is None:
        enough = accuracy(predict(original, world.task, world.test), "test").value
    keep = unweave.Keep("accuracy", absolute=world.size.tolerated)
    return unweave.Contract(keep=[keep], forget=[unweave.Forget("accuracy", at_most=enough)])
