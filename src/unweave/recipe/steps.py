"""How long a step is: the trust region, or the papers' way with a learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from unweave.arguments import check_fields
from unweave.loop import OptimizerStep, Stepper
from unweave.parameters import Mask
from unweave.recipe.sections import NamedSection
from unweave.trust import TrustRegion

Parameters = Iterable[nn.Parameter]
Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent; momentum voids first-order guarantees. `clip` is the longest a direction may be.

    `schedule` takes the learning rate from `lr` to 0 over `run.steps`, along a line or half a cosine.
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip: float | None = None
    schedule: Schedule = "constant"

    def __post_init__(self) -> None:
        check_fields(self, lr="(0, inf)", momentum="[0, 1)", weight_decay="[0, inf)", clip="(0, inf)")

    def __call__(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Adam:
    """Adam; it voids first-order guarantees. `clip` and `schedule` as for SGD."""

    lr: float
    clip: float | None = None
    schedule: Schedule = "constant"

    def __post_init__(self) -> None:
        check_fields(self, lr="(0, inf)", clip="(0, inf)")

    def __call__(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        return torch.optim.Adam(parameters, lr=self.lr)


@dataclass(frozen=True)
class AdamW:
    """AdamW; it voids first-order guarantees. `clip` and `schedule` as for SGD."""

    lr: float
    weight_decay: float = 0.01
    clip: float | None = None
    schedule: Schedule = "constant"

    def __post_init__(self) -> None:
        check_fields(self, lr="(0, inf)", weight_decay="[0, inf)", clip="(0, inf)")

    def __call__(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)


STEPS: dict[str, Callable[..., Any]] = {"trust": TrustRegion, "sgd": SGD, "adam": Adam, "adamw": AdamW}


def stepper(
    section: NamedSection, model: nn.Module, mask: Mask | None, *, steps: int
) -> torch.optim.Optimizer | Stepper:
    """The trust region, or the optimizer over what may move of the model, that a recipe asks for.

    Args:
        section: of the recipe.
        model: whose weights move.
        mask: of them.
        steps: of the run: where a schedule ends.
    """
    if section.name == "trust":
        return TrustRegion(**section.arguments, mask=mask)
    step = STEPS[section.name](**section.arguments)
    optimizer: torch.optim.Optimizer = step([p for p in model.parameters() if p.requires_grad])
    if step.clip is None and step.schedule == "constant":
        return optimizer
    return OptimizerStep(optimizer, _scheduled(optimizer, step.schedule, steps), clip=step.clip, mask=mask)


def _scheduled(optimizer: torch.optim.Optimizer, schedule: Schedule, steps: int) -> LambdaLR | None:
    """Step `k` of `n` takes a share of the learning rate, `1 - k/n` or `(1 + cos(pi k/n)) / 2`."""
    match schedule:
        case "constant":
            return None
        case "linear":
            return LambdaLR(optimizer, lambda k: 1 - min(k / steps, 1))
        case "cosine":
            return LambdaLR(optimizer, lambda k: (1 + math.cos(math.pi * min(k / steps, 1))) / 2)
