"""Four clouds of points, a model that knows them, and data that do not fit it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from unweave.tasks import Vision

task = Vision()
CLASSES, WIDTH = 4, 6


def inputs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four separate clouds."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    return torch.eye(CLASSES, WIDTH)[labels] * 6 + torch.randn(n, WIDTH, generator=generator), labels


def right(dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model that knows the clouds; its last layer is the second of two."""
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, CLASSES, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(WIDTH))
        model[1].weight.copy_(torch.eye(CLASSES, WIDTH))
    return model.to(dtype)


def untrained() -> nn.Module:
    model = right()
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)) / 100)
        model[1].weight.copy_(torch.ones(CLASSES, WIDTH))
    return model


def data(n: int = 80, seed: int = 0, labels: Callable[[Tensor], Tensor] = lambda y: y) -> TensorDataset:
    x, y = inputs(n, seed)
    return TensorDataset(x, labels(y))


def shuffled(labels: Tensor) -> Tensor:
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]


def twins(count: int, noise: float, labels: Callable[[Tensor], Tensor] = lambda y: y) -> tuple[Any, Any]:
    """A forget set of 12, of which the retain set holds so many again, a little changed."""
    (x, y), (others, known) = inputs(12, 3), inputs(80, 4)
    again = x[:count] + noise * torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(5))
    return TensorDataset(x, y), TensorDataset(torch.cat([others, again]), torch.cat([known, labels(y[:count])]))
