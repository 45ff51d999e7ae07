"""How long a step is: the trust region, or the papers' way with a learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from unweave.trust import TrustRegion

Optimizer = torch.optim.Optimizer
Factory = Callable[[Iterable[nn.Parameter]], Optimizer]


def sgd(lr: float, momentum: float = 0.0) -> Factory:
    """Stochastic gradient descent; momentum voids first-order guarantees."""
    return lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=momentum)


def adam(lr: float) -> Factory:
    """Adam; it voids first-order guarantees."""
    return lambda parameters: torch.optim.Adam(parameters, lr=lr)


def adamw(lr: float, weight_decay: float = 0.01) -> Factory:
    """AdamW; it voids first-order guarantees."""
    return lambda parameters: torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)


STEPS: dict[str, Callable[..., Factory | TrustRegion]] = {
    "trust": TrustRegion,
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
}
