"""How long a step is: the trust region, or the papers' way with a learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unweave.arguments import check_fields
from unweave.loop import OptimizerStep, Stepper
from unweave.parameters import Mask
from unweave.recipe.sections import NamedSection
from unweave.trust import TrustRegion

Parameters = Iterable[nn.Parameter]


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent; momentum voids first-order guarantees. `clip` is the longest a direction may be."""

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, lr="(0, inf)", momentum="[0, 1)", weight_decay="[0, inf)", clip="(0, inf)")

    def __call__(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Adam:
    """Adam; it voids first-order guarantees. `clip` as for SGD."""

    lr: float
    clip: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, lr="(0, inf)", clip="(0, inf)")

    def __call__(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        return torch.optim.Adam(parameters, lr=self.lr)


@dataclass(frozen=True)
class AdamW:
    """AdamW; it voids first-order guarantees. `clip` as for SGD."""

    lr: float
    weight_decay: float = 0.01
    clip: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, lr="(0, inf)", weight_decay="[0, inf)", clip="(0, inf)")

    def __call__(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)


STEPS: dict[str, Callable[..., Any]] = {"trust": TrustRegion, "sgd": SGD, "adam": Adam, "adamw": AdamW}


def stepper(section: NamedSection, model: nn.Module, mask: Mask | None) -> torch.optim.Optimizer | Stepper:
    """The trust region, or the optimizer over what may move of the model, that a recipe asks for."""
    if section.name == "trust":
        return TrustRegion(**section.arguments, mask=mask)
    step = STEPS[section.name](**section.arguments)
    optimizer: torch.optim.Optimizer = step([p for p in model.parameters() if p.requires_grad])
    return optimizer if step.clip is None else OptimizerStep(optimizer, clip=step.clip, mask=mask)
