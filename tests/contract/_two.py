"""A keeper and a model of two numbers, set by hand, of which one is utility, one forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from unweave.contract import Contract, Forget, Keep, Keeper
from unweave.contract.sets import Sets
from unweave.loop import Record
from unweave.rules import Step

RETAIN, FORGET = torch.zeros(400), torch.ones(40)


class Two(nn.Module):
    """Fails on a share of the retain examples, and has a loss on the forget set; a buffer counts along."""

    def __init__(self, failing: float = 0.0, loss: float = 0.0) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([failing, loss]))
        self.register_buffer("calls", torch.zeros(1))

    def set(self, failing: float, loss: float) -> None:
        with torch.no_grad():
            self.theta.copy_(torch.tensor([failing, loss]))
            self.calls.fill_(loss)


class Given:
    """The loss is what the model holds."""

    def nll(self, model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        return model.theta[batch[0].long()]

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Any) -> Tensor:
        raise NotImplementedError


def failing(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """1 on the first examples, as large a share of them as the model says."""
    return (batch[1] < model.theta[0]).double()


class State:
    """What a rule and a stepper remember; the stepper can be told to go shorter steps."""

    def __init__(self) -> None:
        self.value, self.shrunk = 0, list[tuple[float, float | None]]()

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "shrunk": list(self.shrunk)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.value, self.shrunk = state["value"], list(state["shrunk"])

    def shrink(self, factor: float, reach: float | None = None) -> None:
        self.shrunk.append((factor, reach))


def share(rows: Tensor) -> TensorDataset:
    return TensorDataset(rows, torch.arange(len(rows)) / len(rows))


KEEP = Keep(failing, absolute=0.2, better="lower")
GONE = Forget("loss", at_least=4.0)


class Run:
    """A keeper, and what it keeps."""

    def __init__(self, contract: Contract, start: tuple[float, float] = (0.0, 0.0), **options: Any) -> None:
        self.model, self.rule, self.stepper, self.number = Two(*start), State(), State(), 0
        sets = Sets(share(FORGET), share(RETAIN), share(RETAIN))
        self.keeper = Keeper(contract, Given(), sets, **{"per_step": 10, **options})  # type: ignore[arg-type]
        self.began = self.keeper.begin(self.model, self.rule, self.stepper)

    def step(self, failing: float, loss: float, accepted: bool = True, radius: float | None = None) -> str | None:
        """The model is set, the step counted, and the keeper looks."""
        self.number += 1
        self.model.set(failing, loss)
        self.rule.value = self.stepper.value = self.number
        record = Record(self.number, Step(torch.zeros(2), torch.ones(1, 2)), 0.5, accepted, radius=radius)
        objectives: Any = SimpleNamespace(model=self.model)
        return self.keeper.read_if_due(record, objectives, self.rule, self.stepper)

    @property
    def theta(self) -> list[float]:
        return [round(x, 6) for x in self.model.theta.tolist()]


def made(forget: Any = (GONE,), **options: Any) -> Contract:
    return Contract([KEEP], forget, every=1, **options)
