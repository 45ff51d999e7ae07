"""Constant weights: gradient ascent, fine-tuning, GradDiff, and most baselines."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unweave.arguments import check_fields
from unweave.rules._base import LossRule


@dataclass
class Fixed(LossRule):
    """The same two weights at every step: `d = forget * g_u + retain * g_r`.

    Args:
        forget: weight of the forget objective's gradient.
        retain: weight of the retain loss's gradient.
    """

    needs_losses = False  # the weights are known before any forward pass
    forget: float = 1.0
    retain: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)

    def weights(self, losses: Tensor) -> Tensor:
        """`(forget, retain)`, whatever the losses."""
        return torch.tensor([self.forget, self.retain], dtype=torch.float64)
