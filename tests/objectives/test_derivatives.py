"""Second and third derivatives, exact and by differences."""

from __future__ import annotations

import torch
from torch import nn

from tests.objectives._problems import (
    RAGGED,
    SIDES,
    WHOLE_FORGET,
    WHOLE_RETAIN,
    assert_close,
    network,
)
from unweave.data.pairs import Pair
from unweave.objectives import FORGET, RETAIN, Objectives


def test_hvp_is_the_double_backward() -> None:
    model = network()
    objectives = Objectives(model, SIDES).at(RAGGED[2])
    vector = [torch.randn_like(p) for p in objectives.parameters]
    before = objectives.snapshot()
    for side, whole in ((FORGET, WHOLE_FORGET), (RETAIN, WHOLE_RETAIN)):
        loss = SIDES[side](model, whole).mean()
        first = torch.autograd.grad(loss, objectives.parameters, create_graph=True)
        inner = sum((g * v).sum() for g, v in zip(first, vector, strict=True))
        expected = torch.autograd.grad(inner, objectives.parameters)
        assert_close(objectives.contract(side, vector), expected)
        assert_close(objectives.hvp(side, vector), expected, 1e-8)
        _, gradient = objectives.gradient(side)
        kept = [g.clone() for g in gradient]
        assert_close(objectives.hvp(side, vector, gradient), expected, 1e-5)
        assert all(a.equal(b) for a, b in zip(gradient, kept, strict=True))
        assert all(a.equal(b) for a, b in zip(objectives.parameters, before, strict=True))
        tiny = [v * 1e-9 for v in vector]  # the step is relative to the vector
        assert_close([h * 1e9 for h in objectives.hvp(side, tiny)], expected, 1e-7)
    zeros = objectives.hvp(RETAIN, [torch.zeros_like(p) for p in objectives.parameters])
    assert all(not z.any() for z in zeros)


def test_hvp_in_float32_sees_the_same_dropout_masks() -> None:
    """With fresh masks the two ends of the difference would differ by far more than the curvature."""
    model = network(nn.Dropout(0.1)).float().train()
    seen = Pair([(x.float(), y) for x, y in RAGGED[2].forget], [(x.float(), y) for x, y in RAGGED[2].retain], 5)
    objectives = Objectives(model, SIDES).at(seen)
    vector = [torch.randn_like(p) for p in objectives.parameters]
    exact, finite = objectives.contract(RETAIN, vector), objectives.hvp(RETAIN, vector)
    error = sum((a - b).square().sum() for a, b in zip(exact, finite, strict=True)).sqrt()
    assert error < 1e-2 * sum(a.square().sum() for a in exact).sqrt()


def test_hvp_along_a_vector_that_is_nothing_beside_the_parameters_is_zero() -> None:
    """A diverging run gets there: the difference step would not fit into a float32."""
    model = network(nn.Identity()).float()
    seen = Pair([(x.float(), y) for x, y in RAGGED[2].forget], [(x.float(), y) for x, y in RAGGED[2].retain], 5)
    objectives = Objectives(model, SIDES).at(seen)
    before = objectives.snapshot()
    tiny = [torch.full_like(p, 1e-44) for p in objectives.parameters]
    assert all(not h.any() for h in objectives.hvp(RETAIN, tiny))
    assert all(torch.equal(a, b) for a, b in zip(before, objectives.parameters, strict=True))


def test_contract_with_two_vectors_is_the_third_derivative() -> None:
    """L = sum x^3 a / 3: H v = 2 x a v, and its derivative along w in turn 2 a v w."""

    class Cubic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))

    model, a = Cubic(), torch.tensor([[3.0, 5.0], [1.0, 1.0]], dtype=torch.float64)
    objectives = Objectives(model, (None, lambda m, b: (m.x**3 * b).sum(-1) / 3)).at(Pair([], [a[:1], a[1:]]))
    v, w = torch.tensor([1.0, 2.0]).double(), torch.tensor([-1.0, 0.5]).double()
    assert_close(objectives.contract(RETAIN, [v]), [2 * model.x.detach() * a.mean(0) * v])
    assert_close(objectives.contract(RETAIN, [v], [w]), [2 * a.mean(0) * v * w])
    assert_close(objectives.contract(RETAIN, [v], [w], [v]), [torch.zeros(2).double()])
    assert_close(objectives.contract(FORGET, [v]), [torch.zeros(2).double()])
