from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from unweave.data.pairs import Pairs
from unweave.errors import ConfigurationError
from unweave.execution import seeded
from unweave.loop import unlearn
from unweave.losses import Ascent, Divergence, Relearned, Swapped, Until, frozen
from unweave.methods import Method
from unweave.rules import HAMU, Fixed
from unweave.tasks import Vision
from unweave.trust import TrustRegion

TASK = Vision()


def problem(rows: int = 6) -> tuple[nn.Sequential, tuple[torch.Tensor, torch.Tensor]]:
    with seeded(0):
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        return model, (torch.randn(rows, 4, dtype=torch.float64), torch.randint(3, (rows,)))


def relearned_by_hand(model: nn.Module, batch: tuple[torch.Tensor, ...], steps: int, reach: float) -> nn.Module:
    """The definition, on a copy of the model that is moved in place."""
    there = copy.deepcopy(model)
    weights = list(there.parameters())
    length = reach * float(sum(p.detach().square().sum() for p in weights)) ** 0.5 / steps
    for _ in range(steps):
        signs = [g.sign() for g in torch.autograd.grad(TASK.nll(there, batch).mean(), weights)]
        size = float(sum(s.square().sum() for s in signs)) ** 0.5
        with torch.no_grad():
            for p, s in zip(weights, signs, strict=True):
                p.sub_(s, alpha=length / size)
    return there


def test_each_half_is_read_where_the_other_leads() -> None:
    """Values and gradient are the loss's own at the other weights: with one step there is no other length to draw."""
    model, (x, y) = problem()
    one, other = (x[:3], y[:3]), (x[3:], y[3:])
    after_one, after_other = (relearned_by_hand(model, half, 1, 0.1) for half in (one, other))
    expected = torch.cat([-TASK.nll(after_other, one), -TASK.nll(after_one, other)])
    found = Relearned(Ascent(TASK.nll), TASK, steps=1, reach=0.1)(model, (x, y))
    torch.testing.assert_close(found, expected)
    gradient = torch.autograd.grad(found.sum(), list(model.parameters()))
    parts = [torch.autograd.grad(v, list(m.parameters())) for v, m in
             ((expected[:3].sum(), after_other), (expected[3:].sum(), after_one))]  # fmt: skip
    assert gradient
    for g, a, b in zip(gradient, *parts, strict=True):
        torch.testing.assert_close(g, a + b)


def test_every_length_up_to_steps_comes() -> None:
    """Of three steps' path each point is read, and nothing else is."""
    model, batch = problem()
    half = tuple(t[3:] for t in batch)
    points = {}
    for steps in (1, 2, 3):
        there = relearned_by_hand(model, half, steps, 0.1 * steps / 3)
        points[steps] = TASK.nll(there, tuple(t[:3] for t in batch))
    loss, seen = Relearned(TASK.nll, TASK, steps=3, reach=0.1), set()
    for seed in range(20):
        with seeded(seed):
            found = loss(model, batch)[:3]
        seen |= {steps for steps, value in points.items() if torch.allclose(found, value, rtol=1e-9)}
        assert any(torch.allclose(found, value, rtol=1e-9) for value in points.values())
    assert seen == {1, 2, 3}


def test_the_other_half_comes_back_before_it_is_read() -> None:
    """The relearner descends: its own half is better known where it ends."""
    model, batch = problem()
    before = TASK.nll(model, batch)[:3].mean()
    there = relearned_by_hand(model, tuple(t[:3] for t in batch), 2, 0.1)
    assert TASK.nll(there, tuple(t[:3] for t in batch)).mean() < before


def test_it_leaves_no_trace() -> None:
    """Weights, gradients and running statistics of the relearner's passes; without a graph it looks all the same."""
    model, (x, y) = problem()
    model.insert(1, nn.BatchNorm1d(5).double())
    state = {k: v.clone() for k, v in model.state_dict().items()}
    loss = Relearned(Ascent(TASK.nll), TASK, steps=1)
    model.eval()
    with torch.no_grad():
        assert loss(model, (x, y)).isfinite().all()
    assert state
    for name, value in model.state_dict().items():
        assert value.equal(state[name]), name
    assert all(p.grad is None for p in model.parameters())
    model.train()
    loss(model, (x, y))
    assert int(model[1].num_batches_tracked) == 2  # type: ignore[arg-type]  # the two halves that are read


@pytest.fixture(params=["optimizer", "trust"])
def stepper(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


@pytest.mark.parametrize("rule", [Fixed(), HAMU("forget")])
def test_every_rule_takes_it(stepper: str, rule: Fixed | HAMU) -> None:
    """A run moves the weights, and ends for what stays unknown even where the relearner is."""
    model, (x, y) = problem(12)
    rows = torch.utils.data.TensorDataset(x, y)
    method = Method(Relearned(Until(Ascent(TASK.nll), TASK, 3.0), TASK), TASK.nll, rule, "")
    begun = [p.detach().clone() for p in model.parameters()]
    step = TrustRegion() if stepper == "trust" else torch.optim.AdamW(model.parameters(), lr=1e-3)
    result = unlearn(model, method, Pairs(rows, rows, forget_batch=6, retain_batch=6), step, steps=4)
    assert len(result.history) == 4
    assert all(r.step.losses.isfinite().all() for r in result.history)
    assert any(not p.equal(b) for p, b in zip(model.parameters(), begun, strict=True))


def test_what_stands_for_the_original_stands_there_too() -> None:
    """A reference that is the model itself with kept weights says the same from other weights."""
    model, batch = problem()
    kept = Swapped({n: p.detach() + 0.1 for n, p in model.named_parameters()})
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1)
    values = [Relearned(Divergence(TASK, r), TASK, steps=1)(model, batch) for r in (kept, frozen(other))]
    torch.testing.assert_close(*values)
    assert bool((values[0] > 0).all())


def test_faults() -> None:
    model, (x, y) = problem()
    with pytest.raises(ConfigurationError, match="reach"):
        Relearned(TASK.nll, TASK, reach=0.0)
    with pytest.raises(ConfigurationError, match="steps"):
        Relearned(TASK.nll, TASK, steps=0)
    with pytest.raises(ConfigurationError, match="found one example: raise forget_batch"):
        Relearned(TASK.nll, TASK)(model, (x[:1], y[:1]))
    with pytest.raises(ConfigurationError, match="no weight may move"):
        Relearned(TASK.nll, TASK)(model.requires_grad_(False), (x, y))
