"""A forget loss with an end: an example that the model knows no better than what it never saw is left alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unweave.arguments import check_fields
from unweave.errors import ConfigurationError
from unweave.execution import bare, device_of, reshard, summed, world
from unweave.losses._base import Batch, Loss
from unweave.losses.original import stands_for_original
from unweave.modules import evaluating, still
from unweave.tasks import Task

END = 20.0  # nats: a probability of 2e-9; chosen on seed 0 of CIFAR-10, see docs/LOG.md


@dataclass(frozen=True)
class Until:
    """Any forget loss, with an end for each example: `L_i = a_i loss_i`, `a_i = 1[nll_i < level]` held constant.

    An example whose nll has reached the level has no loss and no gradient, exactly, and counts again if it falls
    below. So a loss without a bound (ascent) ends, and what is pushed on is what still stands out.

    Where the loss has shown the model the same input, what the model said is used again: no pass of its own. Where it
    has not, the model is asked once more, without a graph.

    A level that lies far beyond unseen data, such as `END`, only keeps ascent from running away: a few examples that
    hold out would else drive the others to hundreds of nats.

    Args:
        loss: the forget side's loss, `(model, batch) -> [b]`.
        task: says the nll of each example.
        level: where an example ends, in the unit of the nll (nats); `unseen_level` gives it.

    Raises:
        ConfigurationError: the level is not positive; of a call: the loss is not one value per example.
    """

    loss: Loss
    task: Task
    level: float

    def __post_init__(self) -> None:
        check_fields(self, level="(0, inf)")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        with _heard(model) as calls:
            values = self.loss(model, batch)
        nll = self._nll(model, batch, calls)
        if values.shape != nll.shape:
            raise ConfigurationError(
                f"Until ends a loss example by example: its loss must return one value for each nll, "
                f"{list(nll.shape)}; it returned {list(values.shape)}. Do not reduce over the batch."
            )
        return torch.where(nll >= self.level, 0.0, values)  # a NaN stays one

    @torch.no_grad()
    def _nll(self, model: nn.Module, batch: Batch, calls: Sequence[_Call]) -> Tensor:
        try:
            found, unheard = self.task.nll(_Again(model, calls), batch), 0.0
        except _Unheard:
            found, unheard = None, 1.0
        if world() > 1:  # all ranks ask, or none: a sharded model gathers its weights in every pass
            unheard = float(summed(torch.tensor(unheard, device=device_of(model))))
        if found is None or unheard:
            with still(model):
                found = self.task.nll(bare(model), batch)
            reshard(model)
        return found


@torch.no_grad()
def unseen_level(model: nn.Module, task: Task, batches: Iterable[Batch]) -> float:
    """The median nll of examples that the model never saw: where forgetting one has come far enough.

    The model is the original, before it moves; it is run in eval mode. Of an even number of examples it is the mean of
    the middle two.

    Raises:
        ConfigurationError: there are no examples, or their nll is not finite or not above 0.
    """
    with evaluating(model):
        found = torch.cat([torch.empty(0).double(), *(task.nll(model, batch).cpu().double() for batch in batches)])
    if not len(found):
        raise ConfigurationError("the level of unseen examples needs some: pass batches of data that no model saw.")
    level = float(found.quantile(0.5))
    if not 0 < level < float("inf"):
        raise ConfigurationError(
            f"the median nll of the unseen examples must be a finite number above 0; found {level}. Give a level."
        )
    return level


@dataclass(frozen=True)
class _Call:
    """What a model was given, and what it said."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any


class _Unheard(Exception):
    """The model was not asked that."""


class _Again(nn.Module):
    """Says what the model said before to the same input, and is otherwise like it.

    Raises:
        _Unheard: of a call: it was not asked that.
    """

    def __init__(self, model: nn.Module, calls: Sequence[_Call]) -> None:
        super().__init__()
        self.module = model
        self.training = model.training
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        for call in reversed(self._calls):
            if _same((args, kwargs), (call.args, call.kwargs)):
                return call.output
        raise _Unheard


@contextmanager
def _heard(model: nn.Module) -> Iterator[list[_Call]]:
    """Every call of the model inside, but for those in which it stands for the original."""
    calls: list[_Call] = []
    if isinstance(model, torch.jit.ScriptModule):  # takes no hooks
        yield calls
        return

    def hear(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not stands_for_original():
            calls.append(_Call(args, kwargs, output))

    handle = model.register_forward_hook(hear, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def _same(one: Any, other: Any) -> bool:
    """Whether two arguments are one object, or hold the same values."""
    if one is other:
        return True
    if isinstance(one, Tensor):
        alike = isinstance(other, Tensor) and one.shape == other.shape
        return alike and one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, (tuple, list)):
        return type(one) is type(other) and len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)
