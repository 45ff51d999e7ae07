"""A request and the papers' way of stepping."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import TensorDataset

from unweave.data.pairs import Pairs
from unweave.losses import Ascent
from unweave.methods import Method
from unweave.rules import Fixed, Rule
from unweave.tasks import Vision

task = Vision()


def pairs(forget: TensorDataset, retain: TensorDataset, seed: int = 0) -> Pairs:
    return Pairs(forget, retain, forget_batch=10, retain_batch=30, seed=seed)


def method(rule: Rule | None = None) -> Method:
    return Method(Ascent(task.nll), task.nll, rule or Fixed(0.1, 1.0), "ours")


def sgd(model: nn.Module, lr: float = 0.05, **options: float) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr, **options)
