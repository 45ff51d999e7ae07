"""Descent and ascent: a task's `nll` is the one, `Ascent` turns any loss into the other."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from unweave.losses._base import Batch, Loss


@dataclass(frozen=True)
class Ascent:
    """The negated loss: minimising it is gradient ascent, `-L(theta; x)`.

    `Ascent(task.nll)` has the gradient `g_u = -grad L_f`. Descent needs no class: it is `task.nll` itself.

    Args:
        loss: what to maximise.
    """

    loss: Loss

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """`-loss` of each example, `[b]`."""
        return -self.loss(model, batch)


@dataclass(frozen=True)
class Weighted:
    """A fixed sum of losses on the same side, `sum_k w_k L_k(theta; x)`.

    Args:
        terms: pairs of weight and loss; SCRUB's retain side is `Weighted(((alpha, divergence), (gamma,
            nll)))`.
    """

    terms: tuple[tuple[float, Loss], ...]

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The weighted sum for each example, `[b]`; each term is one forward pass."""
        (weight, loss), *rest = self.terms
        total = weight * loss(model, batch)
        for weight, loss in rest:
            total = total + weight * loss(model, batch)
        return total
