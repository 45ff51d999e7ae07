"""Descent and ascent: a task's `nll` is the one, `Ascent` turns any loss into the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from unweave.errors import ConfigurationError
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


@dataclass(frozen=True)
class TokenWeighted:
    """A mean over all answer tokens of a step, `sum_i T_i L_i / sum_i T_i`, instead of one over its examples.

    It is what a transformers Trainer minimises when it counts tokens over a whole step. The weights come with the
    batch, so micro-batches and ranks change nothing.

    Args:
        loss: a mean over each example's own tokens, such as `Language().nll`.

    Raises:
        ConfigurationError: the batch has no weights; `data.pairs.Pairs` gives them to texts (`TextRows`).
    """

    loss: Loss

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """`T_i / mean(T) * loss` of each example, `[b]`."""
        if not (isinstance(batch, Mapping) and "weight" in batch):
            raise ConfigurationError(
                "a mean over a step's tokens needs to know them all: draw texts (data.text.TextRows) with Pairs, which "
                "puts batch['weight'] in; a DataLoader knows its own batch only."
            )
        values = self.loss(model, batch)
        return batch["weight"].to(values.dtype) * values
