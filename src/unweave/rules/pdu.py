"""PDU: a ceiling on the retain loss, kept by a multiplier."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from unweave.arguments import check_fields
from unweave.gramian import Memory
from unweave.rules._base import RETAIN, Asked, Rule, Step


@dataclass
class PDU(Rule):
    """Primal-dual steps on `min L_u subject to L_r <= epsilon`.

    Primal: `d = g_u + lambda g_r`.  Dual: `lambda <- [lambda + dual_lr (L_r - epsilon)]_+`, with the retain
    loss that the step saw, reduced over micro-batches and ranks. One backward, no extra forward.

    Args:
        epsilon: ceiling of the retain loss, in its own units (nats for a likelihood).
        dual_lr: step size eta of the multiplier.

    Entesari et al., "Constrained entropic unlearning: a primal-dual framework for large language models"
    (arXiv:2506.05314). Differs from the open-unlearning code: one dual step per optimizer step on the reduced
    loss, not one per micro-batch and rank; no warm-up, the multiplier starts at 0.
    """

    epsilon: float = 0.1
    dual_lr: float = 1.0
    multiplier: float = field(default=0.0, init=False)
    seen: float = field(default=0.0, init=False)

    @property
    def leanest(self) -> Memory:
        """No gradient is kept."""
        return "least"

    def __post_init__(self) -> None:
        check_fields(self, dual_lr="(0, inf)")

    def backward(self, objectives: Asked) -> Step:
        """One backward of `L_u + multiplier * L_r`; notes the retain loss for the dual step."""
        losses, weights = objectives.backward(torch.tensor([1.0, self.multiplier], dtype=torch.float64))
        self.seen = float(losses[RETAIN])
        return Step(losses, weights[None])

    def observe(self, objectives: Asked) -> None:
        """The dual step, once the primal step is taken."""
        self.multiplier = max(0.0, self.multiplier + self.dual_lr * (self.seen - self.epsilon))
