"""Tied, frozen and unused parameters."""

from __future__ import annotations

import copy

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
from unweave.errors import ConfigurationError, UnsupportedError
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


DIFFERENCED = {"ofmu_finite": 1e-5, "ofmu_forget_only": 1e-5}  # a rounding over the difference's step


class Wave(nn.Module):
    """A layer with complex weights, as in spectral convolutions, and a real head."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(5, 4, dtype=torch.complex128))
        self.head = nn.Linear(4, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head((x.to(self.filter.dtype) @ self.filter).abs())


class Parts(nn.Module):
    """The same with real and imaginary part as two real parameters."""

    def __init__(self, wave: Wave) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.view_as_real(wave.filter.detach()).clone())
        self.head = copy.deepcopy(wave.head)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((x.to(torch.complex128) @ torch.view_as_complex(self.filter)).abs())


@pytest.mark.parametrize("name", RULES)
def test_a_complex_parameter_moves_as_its_real_and_imaginary_part_do(name: str) -> None:
    wave = Wave()
    parts = Parts(wave)
    traces = [descend(model, RULES[name](), RAGGED[2]) for model in (wave, parts)]
    real = [torch.view_as_real(t) if t.is_complex() else t for t in traces[0]]
    assert_close(real, traces[1], DIFFERENCED.get(name, 1e-11))


def test_a_complex_loss_is_refused() -> None:
    objectives = Objectives(Wave(), (None, lambda model, batch: model.filter.sum(0))).at(pair())
    with pytest.raises(ConfigurationError, match=r"the retain loss returned torch\.complex128\. Take its real part"):
        objectives.losses()


class Words(nn.Module):
    """Embeddings whose gradients are sparse, or not."""

    def __init__(self, sparse: bool, bag: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.bag = nn.Embedding(9, 4, sparse=sparse), None
        if bag:
            self.bag = nn.EmbeddingBag(9, 4, mode="sum", sparse=sparse)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        ids = (2 * x.abs()).long().clamp(max=8)
        return self.head((self.words(ids).mean(1) * (1.0 if self.bag is None else self.bag(ids))).tanh())


@pytest.mark.parametrize("name", RULES)
def test_sparse_gradients_count_as_dense_ones(name: str) -> None:
    bag = name != "ofmu_exact"  # which torch cannot differentiate twice
    traces = [descend(Words(sparse, bag).double(), RULES[name](), RAGGED[3]) for sparse in (True, False)]
    assert_close(*traces, DIFFERENCED.get(name, 1e-12))
    assert Words(True).words.sparse


def test_what_torch_cannot_differentiate_twice_is_said() -> None:
    model = Words(True).double()
    with pytest.raises(UnsupportedError, match=r"no exact second derivative .*curvature='finite'"):
        descend(model, RULES["ofmu_exact"](), pair())
    assert model.bag is not None and model.bag.sparse


def test_parameters_in_one_memory_are_refused() -> None:
    model = Odd().double()
    model.inner.bias = nn.Parameter(model.out.bias.data)
    with pytest.raises(ConfigurationError, match=r"inner\.bias and out\.bias share numbers|out\.bias and inner\.bias"):
        Objectives(model, SIDES)


def test_a_loss_without_a_weight_in_it_is_refused() -> None:
    class Cut(Odd):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    objectives = Objectives(Cut().double(), SIDES).at(pair())
    objectives.losses()
    ones = [torch.ones_like(p) for p in objectives.parameters]
    for ask in (objectives.gradients, lambda: objectives.contract(FORGET, ones)):
        with pytest.raises(ConfigurationError, match="the forget loss does not depend on any weight that may move"):
            ask()
