"""Functions of a vector, and the stream of a request."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from unweave.data.pairs import Pair, Pairs
from unweave.loop import Result, unlearn
from unweave.methods import Method
from unweave.rules import Rule
from unweave.tasks import Vision
from unweave.trust import TrustRegion

task = Vision()


def pairs(forget: TensorDataset, retain: TensorDataset, seed: int = 0) -> Pairs:
    return Pairs(forget, retain, forget_batch=15, retain_batch=70, seed=seed)


class Vector(nn.Module):
    def __init__(self, *values: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(values, dtype=torch.float64))


Field = Callable[[Tensor], Tensor]


def on(model: Vector, forget: Field | None, retain: Field, rule: Rule, region: TrustRegion, steps: int = 1) -> Result:
    """A run on two functions of theta."""

    def of(field: Field) -> Callable[[nn.Module, Tensor], Tensor]:
        return lambda m, batch: field(m.theta).expand(len(batch))

    method = Method(of(forget) if forget else None, of(retain), rule, "")
    return unlearn(model, method, [Pair([torch.zeros(1)], [torch.zeros(1)])] * steps, region)


def flat(theta: Tensor) -> Tensor:
    return 0.0 * theta.sum() + 1.0
