"""How long a step is: the trust region, or the papers' way with a learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from unweave.parameters import Mask
from unweave.run.recipe import NamedSection
from unweave.trust import TrustRegion

Factory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def sgd(lr: float, momentum: float = 0.0) -> Factory:
    """Stochastic gradient descent; momentum voids first-order guarantees."""
    return lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=momentum)


def adam(lr: float) -> Factory:
    """Adam; it voids first-order guarantees."""
    return lambda parameters: torch.optim.Adam(parameters, lr=lr)


def adamw(lr: float, weight_decay: float = 0.01) -> Factory:
    """AdamW; it voids first-order guarantees."""
    return lambda parameters: torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)


STEPS: dict[str, Callable[..., Any]] = {"trust": TrustRegion, "sgd": sgd, "adam": adam, "adamw": adamw}


def stepper(section: NamedSection, model: nn.Module, mask: Mask | None) -> torch.optim.Optimizer | TrustRegion:
    """The trust region, or the optimizer over what may move of the model, that a recipe asks for."""
    if section.name == "trust":
        return TrustRegion(**section.arguments, mask=mask)
    return STEPS[section.name](**section.arguments)([p for p in model.parameters() if p.requires_grad])
