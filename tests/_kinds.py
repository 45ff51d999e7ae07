"""A small trained model of each kind of task, with a request: shared by the tests of tasks and of the catalogue."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from unweave.tasks import Classification, Dense, MultiLabel, Regression, Task

FORGET, RETAIN, TEST = 40, 360, 100


@dataclass(frozen=True)
class Kind:
    """A model that learned the wrong answers of 40 examples by heart, and 100 examples that it never saw."""

    name: str
    task: Task
    model: nn.Module
    forget: TensorDataset
    retain: TensorDataset
    test: TensorDataset

    def original(self) -> nn.Module:
        return copy.deepcopy(self.model)


class Squeezed(nn.Sequential):
    """One number for each example, `[b]`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., 0]


def _draws() -> tuple[torch.Generator, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return generator, torch.randn(FORGET + RETAIN + TEST, 6, generator=generator)


def _mlp(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 96), nn.Tanh(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, outputs))


def _binary() -> tuple[Task, nn.Module, Tensor, Tensor, Tensor]:
    _, x = _draws()
    y = x[:, 0] + x[:, 1] > 0
    return Classification(), _mlp(1), x, y, ~y


def _regression() -> tuple[Task, nn.Module, Tensor, Tensor, Tensor]:
    generator, x = _draws()
    y = x[:, 0].sin() + x[:, 1] + 0.2 * torch.randn(len(x), generator=generator)
    net = Squeezed(nn.Linear(6, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 1))
    return Regression(0.2), net, x, y, y + 1.0


def _multilabel() -> tuple[Task, nn.Module, Tensor, Tensor, Tensor]:
    _, x = _draws()
    y = (x[:, :4] + x[:, 2:] > 0).long()
    return MultiLabel(), _mlp(4), x, y, 1 - y


def _segmentation() -> tuple[Task, nn.Module, Tensor, Tensor, Tensor]:
    generator, _ = _draws()
    x = torch.randn(FORGET + RETAIN + TEST, 2, 4, 4, generator=generator)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 48), nn.Unflatten(1, (3, 4, 4)))
    return Dense(), net, x, y, (y + 1) % 3


def _tokens() -> tuple[Task, nn.Module, Tensor, Tensor, Tensor]:
    generator, _ = _draws()
    x = torch.randint(0, 9, (FORGET + RETAIN + TEST, 5), generator=generator)
    y = x % 3
    y[:, -1] = -100
    net = nn.Sequential(
        nn.Embedding(9, 8), nn.Flatten(), nn.Linear(40, 128), nn.ReLU(), nn.Linear(128, 15), nn.Unflatten(1, (5, 3))
    )
    return Dense(), net, x, y, torch.where(y == -100, y, (y + 1) % 3)


_MADE: dict[str, Callable[[], tuple[Task, nn.Module, Tensor, Tensor, Tensor]]] = {
    "binary": _binary,
    "regression": _regression,
    "multilabel": _multilabel,
    "segmentation": _segmentation,
    "tokens": _tokens,
}
KINDS = tuple(_MADE)


@cache
def kind(name: str) -> Kind:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        task, model, x, right, wrong = _MADE[name]()
        taught = torch.cat([wrong[:FORGET], right[FORGET:]])
        seen = slice(0, FORGET + RETAIN)
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(500 if name == "regression" else 200):
            optimizer.zero_grad()
            task.nll(model, (x[seen], taught[seen])).mean().backward()
            optimizer.step()
    model.zero_grad(set_to_none=True)
    parts = (each.split([FORGET, RETAIN, TEST]) for each in (x, taught))
    return Kind(name, task, model.eval(), *map(TensorDataset, *parts))
