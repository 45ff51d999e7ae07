"""Tied, frozen and unused parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.objectives._problems import (
    RAGGED,
    RULES,
    SIDES,
    WHOLE_FORGET,
    assert_close,
    descend,
    pair,
)
from unweave.objectives import FORGET, Objectives


class Odd(nn.Module):
    """A tied, a frozen and an unused parameter, and one that only one side uses."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(5, 5), nn.Linear(5, 5)
        self.out.weight = self.inner.weight
        self.frozen, self.unused = nn.Linear(5, 3), nn.Linear(2, 2)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.out(self.inner(x).tanh()))


@pytest.mark.parametrize("name", RULES)
def test_tied_frozen_and_unused_parameters(name: str) -> None:
    model = Odd().double()
    fixed = [p.detach().clone() for p in (*model.frozen.parameters(), *model.unused.parameters())]
    before = model.inner.weight.detach().clone()
    trace = descend(model, RULES[name](), RAGGED[2])
    assert all(t.isfinite().all() for t in trace)
    after = [*model.frozen.parameters(), *model.unused.parameters()]
    assert all(a.equal(b) for a, b in zip(after, fixed, strict=True))
    assert model.out.weight is model.inner.weight and not model.inner.weight.equal(before)


def test_a_tied_parameter_counts_once_and_a_frozen_one_not_at_all() -> None:
    model = Odd().double()
    objectives = Objectives(model, SIDES).at(pair())
    assert objectives.names == ["inner.weight", "inner.bias", "out.bias", "unused.weight", "unused.bias"]
    _, (forget, _) = objectives.gradients()
    loss = SIDES[FORGET](model, WHOLE_FORGET).mean()
    assert_close(forget, torch.autograd.grad(loss, objectives.parameters, materialize_grads=True))
    assert all(p.grad is None for p in model.parameters())
