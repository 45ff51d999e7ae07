"""What a modality has to tell the rest of the library: two functions; and what a task may tell besides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unweave.data.pairs import Batch


class Task(Protocol):
    """Turns a model and a batch into per-example numbers; every loss is built from these two."""

    def nll(self, model: nn.Module, batch: Batch) -> Tensor:
        """Negative log-likelihood of each example, `[b]`, in nats."""

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Batch) -> Tensor:
        """KL(reference || model) of each example's prediction, `[b]`, in nats, at least 0."""


@dataclass(frozen=True)
class Value:
    """One number of each example that a task can read beside its nll, for scores and for a contract.

    Attributes:
        read: `(model, batch) -> [b]`.
        definition: how a set's number is formed of them.
        unit: of the number.
        higher: whether more is better.
    """

    read: Callable[[nn.Module, Batch], Tensor]
    definition: str
    unit: str = "share"
    higher: bool = False


@dataclass(frozen=True)
class Owners:
    """Which example each of n values belongs to: one each for classes, several for the tokens of an answer.

    Attributes:
        count: examples in the batch, b.
        example: `[n]`, in [0, b); None where every example has one value, in order.
        reduction: of an example's values, unless a loss says otherwise.
    """

    count: int
    example: Tensor | None = None
    reduction: Literal["mean", "sum"] = "mean"

    def of(self) -> Tensor:
        """The example of each value, `[n]`."""
        return torch.arange(self.count) if self.example is None else self.example

    def place(self) -> Tensor:
        """Which of its example's values each is, `[n]`, from 0; those of an example stand together, in their order."""
        of = self.of()
        sizes = self._sizes(of)
        return torch.arange(len(of), device=of.device) - (sizes.cumsum(0) - sizes)[of]

    def sum(self, values: Tensor) -> Tensor:
        """The sum of each example's values, `[n] -> [b]`."""
        if self.example is None:
            return values
        return values.new_zeros(self.count).index_add(0, self.example, values)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of each example's values, `[n] -> [b]`; 0 for an example without any."""
        if self.example is None:
            return values
        return self.sum(values) / self._sizes(self.example).clamp(min=1)

    def _sizes(self, of: Tensor) -> Tensor:
        """Values of each example, `[b]`; `bincount` would wait for the largest number."""
        return of.new_zeros(self.count).index_add(0, of, torch.ones_like(of))

    def reduced(self, values: Tensor) -> Tensor:
        """The one or the other, `[n] -> [b]`."""
        return self.sum(values) if self.reduction == "sum" else self.mean(values)


@dataclass(frozen=True)
class Predictions:
    """What a model says where the batch knows the answer.

    Attributes:
        logits: `[n, V]`, float32 or better.
        targets: `[n]`, the right class or token.
        owners: the example of each.
    """

    logits: Tensor
    targets: Tensor
    owners: Owners

    def nll(self) -> Tensor:
        """`-log p(target)`, `[n]`."""
        return F.cross_entropy(self.logits, self.targets, reduction="none")

    def log_p(self, temperature: float = 1.0) -> Tensor:
        """`log softmax(logits / T)`, `[n, V]`."""
        return (self.logits if temperature == 1 else self.logits / temperature).log_softmax(-1)


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Of an error, `log((1 - p_y) / p_y) = logsumexp_{j != y} z_j - z_y`, `[b, classes], [b] -> [b]`, nats.

    It keeps the order of examples whose loss is 0 in float32: no probability is rounded on the way.
    """
    true = labels[:, None]
    return logits.scatter(1, true, -torch.inf).logsumexp(1) - logits.gather(1, true)[:, 0]


def divergence(target: Tensor, model: Predictions, temperature: float = 1.0) -> Tensor:
    """`T^2 KL(p_reference^(1/T) || p_model^(1/T))` of each prediction, `[n]`; target: the reference's `log_p(T)`.

    What the reference rules out (a logit of -inf: a masked class, a padded vocabulary) adds nothing, 0 log 0 = 0.
    """
    return temperature**2 * kl(target, model.log_p(temperature))


class _Predicts(Protocol):
    def predictions(self, model: nn.Module, batch: Batch) -> Predictions: ...


def divergences(task: _Predicts, model: nn.Module, reference: nn.Module, batch: Batch) -> Tensor:
    """`KL(p_reference || p_model)` of each example, `[b]`, over its predictions; no gradient flows to the reference."""
    with torch.no_grad():
        target = task.predictions(reference, batch).log_p()
    seen = task.predictions(model, batch)
    return seen.owners.reduced(divergence(target, seen))


def kl(target: Tensor, own: Tensor) -> Tensor:
    """`sum_v q_v (log q_v - log p_v)` over the last axis, of log q and log p; 0 where q is, in the gradient too."""
    never = target.isneginf()
    own, target = own.masked_fill(never, 0.0), target.masked_fill(never, 0.0)
    return F.kl_div(own, target, reduction="none", log_target=True).sum(-1)


def cross_entropy(target: Tensor, own: Tensor) -> Tensor:
    """`-sum_v q_v log p_v` over the last axis, of q and log p; 0 where q is, in the gradient too."""
    return -(target * own.masked_fill(target == 0, 0.0)).sum(-1)
