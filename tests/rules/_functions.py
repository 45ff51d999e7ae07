"""Losses of a few parameters, given as functions of theta, for rules that ask for more than a Gramian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unweave.data.pairs import Pair
from unweave.objectives import Objectives

Function = Callable[[Tensor], Tensor]
ONE = [torch.zeros(1)]


class Point(nn.Module):
    """Its output is its parameters."""

    def __init__(self, theta: Sequence[float], dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(list(theta), dtype=dtype))

    def forward(self) -> Tensor:
        return self.theta


def objectives(theta: Sequence[float], forget: Function, retain: Function, **options: Any) -> tuple[Point, Objectives]:
    """A point and both objectives, on a pair of one example each."""
    model = Point(theta)

    def loss(function: Function) -> Any:
        return lambda m, batch: function(m()).expand(len(batch))

    return model, Objectives(model, (loss(forget), loss(retain)), **options).at(Pair(ONE, ONE))


def quadratic(m: Any, centre: Any) -> Function:
    """`(t - c)^T M (t - c) / 2`."""
    m, centre = torch.tensor(m, dtype=torch.float64), torch.tensor(centre, dtype=torch.float64)
    return lambda t: (t - centre) @ m @ (t - centre) / 2


def logistic(z: Any) -> Function:
    """`mean_i log(1 + exp(-z_i.t))`."""
    z = torch.tensor(z, dtype=torch.float64)
    return lambda t: nn.functional.softplus(-z @ t).mean()


def negated(function: Function) -> Function:
    """Ascent."""
    return lambda t: -function(t)
