"""Every row of the catalogue, through the same small problems."""

from __future__ import annotations

import copy
import inspect
from functools import cache
from itertools import islice

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests._toys import DIFFUSION_ONLY, TEXT_ONLY, TORCHJD
from unweave.data.pairs import Pair, Pairs
from unweave.loop import Result, unlearn
from unweave.losses import Ascent
from unweave.methods import METHODS, PAPERS, Method
from unweave.objectives import Objectives
from unweave.parameters import saliency_mask
from unweave.rules import GradientRule
from unweave.tasks import Vision

ROWS = sorted(set(METHODS) - TEXT_ONLY - DIFFUSION_ONLY)
KEEPS_THE_FORGET_SET = {"finetune"}
CLOSED = {"hamu_q", "hamu_u", "unilateral_surgery", "pcgrad", "gru", "ngdiff", "munba"}
GRADIENT_ROWS = sorted(CLOSED | TORCHJD)
STATEFUL = {"scrub", "pdu", "eupmu", "eupmu_compat", "ofmu"}


def build(name: str, original: nn.Module) -> Method:
    if name in TORCHJD:
        pytest.importorskip("torchjd")
    return METHODS[name](Vision(), original)


@cache
def trained() -> tuple[nn.Module, TensorDataset, TensorDataset]:
    """A small classifier with BatchNorm and dropout that learned three blobs, and a request: blob 0."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % 3
    x = 2.5 * torch.eye(3, 5)[labels] + 0.7 * torch.randn(240, 5, generator=generator)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        hidden = nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1)
        model = nn.Sequential(*hidden, nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        for _ in range(60):
            optimizer.zero_grad()
            Vision().nll(model, (x, labels)).mean().backward()
            optimizer.step()
    forget, retain = (TensorDataset(x[chosen], labels[chosen]) for chosen in (labels == 0, labels != 0))
    return model, forget, retain


def start(name: str) -> tuple[nn.Module, Method, Pairs, torch.optim.Optimizer]:
    original, forget, retain = trained()
    model = copy.deepcopy(original)
    pairs = Pairs(forget, retain, forget_batch=40, retain_batch=80)
    return model, build(name, original), pairs, torch.optim.SGD(model.parameters(), 0.05)


def go(parts: tuple[nn.Module, Method, Pairs, torch.optim.Optimizer], steps: int) -> Result:
    model, method, pairs, optimizer = parts
    original, forget, _ = trained()
    share = method.saliency
    mask = None if share is None else saliency_mask(original, Vision().nll, [forget.tensors], share)
    return unlearn(model, method, islice(pairs, steps), optimizer, mask=mask)


def test_every_row_is_here_and_has_a_paper() -> None:
    assert len(METHODS) > 30 and set(PAPERS) == set(METHODS) >= TEXT_ONLY | TORCHJD
    for name, function in METHODS.items():
        assert function.__name__ == name
        assert (function.__doc__ or "").split("\n")[0].rstrip().endswith(".")
        taken, original, *own = inspect.signature(function).parameters.values()
        assert (taken.name, original.name) == ("task", "original")
        assert all(p.default is not p.empty for p in own), name
        paper = PAPERS[name]
        assert "arXiv:" in paper or "ICLR" in paper


@pytest.mark.parametrize("name", ROWS)
def test_forgets_the_class_and_stays_finite(name: str) -> None:
    parts = start(name)
    model, method, _, _ = parts
    assert method.paper == PAPERS[name]
    result = go(parts, 20)
    assert result.skipped == 0
    assert all(p.isfinite().all() for p in model.parameters())
    before, after = (mean_nll(m, trained()[1]) for m in (trained()[0], model))
    if name in KEEPS_THE_FORGET_SET:
        assert method.forget is None and after < before + 0.5
    else:
        assert after > before + 0.02, (before, after, result.reason)
    assert (model[0].weight - trained()[0][0].weight).abs().max() > 1e-4


@pytest.mark.parametrize("name", ROWS)
def test_resumes_bit_for_bit_and_leaves_no_trace(name: str) -> None:
    """Neither on the original model nor on the global random state."""
    original, *_ = trained()
    before, state = copy.deepcopy(original.state_dict()), torch.random.get_rng_state()
    whole, first, second = start(name), start(name), start(name)
    fresh = first[1].rule.state_dict()
    go(whole, 6)
    go(first, 4)
    moved = first[1].rule.state_dict() != fresh
    assert moved == (name in STATEFUL), "a state that does not move tests nothing"
    second[0].load_state_dict(first[0].state_dict())
    second[1].rule.load_state_dict(first[1].rule.state_dict())
    second[2].load_state_dict(first[2].state_dict())
    go(second, 2)
    assert all(a.equal(b) for a, b in zip(second[0].parameters(), whole[0].parameters(), strict=True))
    assert second[1].rule.state_dict() == whole[1].rule.state_dict()
    assert torch.random.get_rng_state().equal(state)
    assert all(value.equal(before[key]) for key, value in original.state_dict().items())
    assert original.training and all(p.requires_grad for p in original.parameters())


class Point(nn.Module):
    """Two parameters, for quadratics around (-1, 0), the forget side's, and (1, 0), the retain side's."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([0.3, 2.0], dtype=torch.float64))


def around(centre: float) -> object:
    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        return (model.theta - torch.tensor([centre, 0.0])).square().sum().expand(len(batch))

    return loss


@pytest.mark.parametrize("name", GRADIENT_ROWS)
def test_ends_on_the_pareto_front_of_two_quadratics(name: str) -> None:
    """Rules that look at both gradients end between the centres, with a lower forget objective."""
    rule = build(name, trained()[0]).rule
    model = Point()
    objectives = Objectives(model, (around(-1.0), around(1.0)))
    first, _ = objectives.at(Pair([torch.zeros(1)], [torch.zeros(1)])).gradients()
    for number in range(150):
        objectives.lr = 0.1 / (1 + 0.1 * number)
        assert rule.backward(objectives).weights.isfinite().all()
        objectives.move(objectives.direction(), -objectives.lr)
    x, y = model.theta.tolist()
    assert abs(y) < 0.05 and -1.05 < x < 1.05, (x, y)
    assert objectives.losses()[0] < first[0]


def mean_nll(model: nn.Module, data: TensorDataset) -> float:
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        return float(Vision().nll(model, data.tensors).mean())


def test_the_rows_that_compare_gradient_rules_share_one_forget_loss() -> None:
    methods = {name: build(name, trained()[0]) for name in ROWS}
    gradient = {name for name, made in methods.items() if isinstance(made.rule, GradientRule)}
    assert set(GRADIENT_ROWS) <= gradient
    assert all(isinstance(methods[name].forget, Ascent) for name in gradient)
