"""One state of a run, to go back to: weights that may move, buffers, and what rule and step length remember."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unweave.modules import writable
from unweave.places import Place, Shelf


class Stateful(Protocol):
    """What a rule and a stepper have in common."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as plain values and tensors; what it holds does not move on with the run."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""


class Shrinking(Stateful, Protocol):
    """A stepper that can be told to go shorter steps."""

    def shrink(self, factor: float, reach: float | None = None) -> None:
        """Shorter steps by a factor, and none longer than that part of `reach`."""


class Taken(Protocol):
    """What a contract reads of a step; `unweave.loop.Record` is one."""

    @property
    def number(self) -> int:
        """From 1."""

    @property
    def accepted(self) -> bool:
        """Whether the weights moved."""

    @property
    def lr(self) -> float:
        """Length per unit of direction."""

    @property
    def retain(self) -> float:
        """The retain loss of its examples, before it."""

    @property
    def realised(self) -> Tensor | None:
        """Change of both losses, where it was looked at."""

    @property
    def predicted(self) -> Tensor | None:
        """The same to first order."""

    @property
    def radius(self) -> float | None:
        """The trust region's, if there is one."""


class Snapshot:
    """A state that is overwritten in place: a second one costs no memory.

    Args:
        place: where its tensors lie.
    """

    def __init__(self, place: Place = "device") -> None:
        self._shelf = Shelf(place)
        self.rule: dict[str, Any] = {}
        self.stepper: dict[str, Any] = {}

    @torch.no_grad()
    def take(self, model: nn.Module, rule: Stateful | None = None, stepper: Stateful | None = None) -> None:
        """Remembers the model as it is, and rule and stepper if they are given."""
        self._shelf.take(_live(model))
        self.rule = {} if rule is None else copy.deepcopy(rule.state_dict())
        self.stepper = {} if stepper is None else stepper.state_dict()

    @torch.no_grad()
    def restore(self, model: nn.Module, rule: Stateful | None = None, stepper: Stateful | None = None) -> None:
        """Puts the model back, and rule and stepper if they are given."""
        self._shelf.restore(_live(model))
        if rule is not None:
            rule.load_state_dict(copy.deepcopy(self.rule))
        if stepper is not None:
            stepper.load_state_dict(self.stepper)

    def back(self, model: nn.Module, found: Callable[[], bool]) -> None:
        """Moves the model's weights towards these, as far as it is still found (`places.Shelf.back`)."""
        self._shelf.back([p.detach() for p in model.parameters() if p.requires_grad], found)

    def state_dict(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {"tensors": list(self._shelf.tensors), "rule": self.rule, "stepper": self.stepper}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self._shelf.take(state["tensors"])
        self.rule, self.stepper = copy.deepcopy(state["rule"]), copy.deepcopy(state["stepper"])


def _live(model: nn.Module) -> list[Tensor]:
    return [*(p.detach() for p in model.parameters() if p.requires_grad), *(b for b in model.buffers() if writable(b))]
