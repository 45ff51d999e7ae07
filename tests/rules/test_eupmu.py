from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from tests.rules._functions import ONE, Point, objectives
from tests.rules._toy import LR, START, UNLEARN, UTILITY
from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError
from unweave.objectives import Objectives
from unweave.rules import EUPMU, Rule, UnilateralSurgery
from unweave.testing.gradients import direction, gram, vector

# g_u, g_r, tolerance, multiplier, direction, <g_r, d>
SURGERY = [
    ((1, 2, -1), (-2, 1, 0.5), 0, 0.0952380952, (0.80952381, 2.0952381, -0.95238095), 0),
    ((1, 2, -1), (-2, 1, 0.5), 0.2, 0.0571428571, (0.88571429, 2.05714286, -0.97142857), -0.2),
    ((1, 2, -1), (-2, 1, 0.5), 0.5, 0, (1, 2, -1), -0.5),
    ((1, 2, -1), (-2, 1, 0.5), 1, 0, (1, 2, -1), -0.5),
    ((1, 2, -1), (-2, 1, 0.5), -0.5, 0.1904761905, (0.61904762, 2.19047619, -0.9047619), 0.5),
    ((1, 2), (2, 1), 0, 0, (1, 2), 4),
    ((1, 2), (2, 1), 0.5, 0, (1, 2), 4),
    ((1, 2), (2, 1), -6, 0.4, (1.8, 2.4), 6),
    ((3, 4), (-3, -4), 0, 1, (0, 0), 0),
    ((3, 4), (-3, -4), 5, 0.8, (0.6, 0.8), -5),
    ((3, 4), (-3, -4), 25, 0, (3, 4), -25),
    ((1, 0), (0, 2), 0.4, 0, (1, 0), 0),
    ((1, 0), (0, 2), -1, 0.25, (1, 0.5), 1),
    ((1, 1), (-0.001, 0), 0, 1000, (0, 1), 0),
    ((1, 1), (-0.001, 0), 5e-4, 500, (0.5, 1), -5e-4),
    ((1, 1), (-0.001, 0), 0.01, 0, (1, 1), -0.001),
]


def test_table_of_the_surgery() -> None:
    for g_u, g_r, tolerance, multiplier, expected, product in SURGERY:
        u, r, rule = vector(*g_u), vector(*g_r), UnilateralSurgery(tolerance)
        d = direction(rule, u, r)
        assert rule.weights(gram(u, r))[0].tolist() == pytest.approx([1, multiplier], rel=1e-9, abs=1e-10)
        assert d.tolist() == pytest.approx(expected, rel=0, abs=6e-9)
        assert float(r @ d) == pytest.approx(product, rel=1e-9, abs=1e-12)


def test_golden_surgeries(vectors: Any) -> None:
    rows = vectors("eupmu")["surgery"]
    for row in rows:
        u, r, rule = vector(*row["g_u"]), vector(*row["g_r"]), UnilateralSurgery(row["tolerance"])
        assert rule.weights(gram(u, r))[0].tolist() == pytest.approx([1, row["multiplier"]], rel=1e-9, abs=1e-12)
        assert direction(rule, u, r).tolist() == pytest.approx(row["direction"], rel=1e-9, abs=1e-12)
    assert len(rows) == 30 and sum(row["multiplier"] > 0 for row in rows) >= 10


def test_surgery_is_the_projection() -> None:
    """Against SLSQP on the quadratic programme itself."""
    generator, active = np.random.default_rng(5), 0
    for _ in range(200):
        n = int(generator.integers(2, 7))
        u, r, tolerance = generator.normal(size=n), generator.normal(size=n), float(generator.normal())
        limit = {"type": "ineq", "fun": lambda d, r=r, e=tolerance: r @ d + e, "jac": lambda d, r=r: r}
        best = minimize(
            lambda d, u=u: 0.5 * (d - u) @ (d - u),
            np.zeros(n),
            jac=lambda d, u=u: d - u,
            constraints=[limit],
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 300},
        )
        d = direction(UnilateralSurgery(tolerance), torch.tensor(u), torch.tensor(r))
        assert d.tolist() == pytest.approx(best.x, rel=0, abs=1e-6)
        active += float((d - torch.tensor(u)).norm()) > 1e-6
    assert 60 <= active <= 140


def test_blocks_share_the_tolerance() -> None:
    """Tolerated in all: no more than with one block, and each in proportion to `|g_u| |g_r|`."""
    generator = torch.Generator().manual_seed(3)
    u, r = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    u -= 2 * r
    blocks = torch.cat([gram(a, b) for a, b in zip(u, r, strict=True)])
    weights = UnilateralSurgery(0.7).weights(blocks)
    d = weights[:, :1] * u + weights[:, 1:] * r
    rises = -(d * r).sum(-1)
    shares = u.norm(dim=1) * r.norm(dim=1)
    torch.testing.assert_close(rises, 0.7 * shares / shares.sum())
    assert (weights[:, 1] > 0).all()


def test_a_negligible_retain_gradient_is_rounding_noise() -> None:
    """Relative: at 1e-7 of the forget gradient it is not altered, at any scale; at 1e-5 it is."""
    for scale in (1e-9, 1.0, 1e9):
        u = scale * vector(1, 1)
        assert direction(UnilateralSurgery(), u, scale * vector(-1e-7, 0)).equal(u)
        torch.testing.assert_close(direction(UnilateralSurgery(), u, scale * vector(-1e-5, 0)), scale * vector(0, 1))
        assert direction(UnilateralSurgery(), u, vector(0, 0)).equal(u)


PREVIOUS, CURRENT = (0.100, 0.120, 0.150, 0.140, 0.130, 0.125), (0.118, 0.148, 0.141, 0.131, 0.126, 0.124)
LOSSES = list(zip(PREVIOUS, CURRENT, strict=True))


def test_multipliers_of_the_paper() -> None:
    rows = {0.1: (0.17, 0.44, 0.34, 0.24, 0.19, 0.17), 1.0: (0.08, 0.26, 0.07, 0, 0, 0)}
    for tolerance, expected in rows.items():
        rule = EUPMU(tolerance, dual_lr=0.1)
        assert [rule.update(*x, 0.01) for x in LOSSES] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_golden_multipliers(vectors: Any) -> None:
    runs, checked = vectors("eupmu")["implicit"], 0
    for run in runs:
        rule = EUPMU(run["tolerance"], run["dual_lr"])
        losses = zip(run["before"], run["after"], strict=True)
        found = [rule.update(*x, run["lr"]) for x in losses]
        assert found == pytest.approx(run["multipliers"], rel=1e-9, abs=1e-12)
        checked += len(found)
    assert len(runs) == 6 and checked >= 100


def test_a_budget_is_spent_over_the_run_whatever_the_step_lengths() -> None:
    rule = EUPMU(budget=0.7, steps=5, dual_lr=2.0)
    rule.multiplier, spent = 1e3, 0.0
    for lr in (0.1, 0.05, 0.2, 0.01, 0.3):
        before = rule.multiplier
        spent += lr * (before - rule.update(1.0, 1.0, lr)) / 2.0
    assert spent == pytest.approx(0.7, rel=1e-9)
    with pytest.raises(ConfigurationError, match="steps"):
        EUPMU(budget=0.1)


class Counting:
    """A loss that counts its forward passes, with and without a graph, and its backward passes."""

    def __init__(self, function: Any) -> None:
        self.function, self.forward, self.look, self.backward = function, 0, 0, 0

    def __call__(self, model: Point, batch: Tensor) -> Tensor:
        values = self.function(model()).expand(len(batch))
        if values.requires_grad:
            self.forward += 1
            values.register_hook(self._count)
        else:
            self.look += 1
        return values

    def _count(self, gradient: Tensor) -> None:
        self.backward += 1

    def counts(self) -> tuple[int, int, int]:
        return self.forward, self.backward, self.look


@pytest.mark.parametrize(("estimator", "looks"), [("next_batch", 0), ("same_batch", 1), ("probe", 1)])
@pytest.mark.parametrize("micro", [1, 3])
def test_the_passes_of_a_step(estimator: Any, looks: int, micro: int) -> None:
    """One forward and backward a side and micro-batch; the estimators that look again look at the retain side only."""
    sides = Counting(UNLEARN), Counting(UTILITY)
    seen = Objectives(Point(START), sides, probe=ONE)  # type: ignore[arg-type]
    rule, steps = EUPMU(dual_lr=1.0, estimator=estimator), 7
    for _ in range(steps):
        rule.backward(seen.at(Pair(ONE * micro, ONE * micro)))
        seen.lr = LR
        seen.move(seen.direction(), -LR)
        rule.observe(seen)
    again = looks * steps * (1 if estimator == "probe" else micro)
    assert sides[0].counts() == (micro * steps, micro * steps, 0)
    assert sides[1].counts() == (micro * steps, micro * steps, again)
    assert rule.multiplier > 0


@pytest.mark.parametrize("micro", [1, 3])
def test_the_shipped_variant_looks_again_at_the_retain_side_only(micro: int) -> None:
    sides = Counting(UNLEARN), Counting(UTILITY)
    seen = Objectives(Point(START), sides).at(Pair(ONE * micro, ONE * micro))  # type: ignore[arg-type]
    rule = EUPMU.compat()
    rule.backward(seen)
    rule.observe(seen)
    assert sides[0].counts() == (micro, micro, 0) and sides[1].counts() == (micro, micro, micro)


def test_the_estimators_differ_by_what_they_look_at() -> None:
    """`probe` never sees the pair's own retain loss: two probes, two multipliers, on the same pairs."""

    def end(probe: Tensor) -> float:
        model = Point(START)
        losses = [lambda m, b: UNLEARN(m()).expand(len(b)), lambda m, b: UTILITY(m() + b.sum()).expand(len(b))]
        seen = Objectives(model, losses, probe=[probe]).at(Pair(ONE, ONE))  # type: ignore[arg-type]
        rule = EUPMU(dual_lr=1.0, estimator="probe")
        for _ in range(5):
            rule.backward(seen)
            seen.lr = LR
            seen.move(seen.direction(), -LR)
            rule.observe(seen)
        return rule.multiplier

    assert abs(end(torch.zeros(1)) - end(torch.ones(1))) > 0.1


def test_a_step_that_was_not_taken_moves_no_multiplier() -> None:
    """A refused or undone step is followed by no `observe`: what the next pair's loss differs by is sampling noise."""
    rule = EUPMU(dual_lr=1.0)
    rule.multiplier = 0.5
    _, seen = objectives(START, UNLEARN, UTILITY)
    seen.lr = 0.1
    rule.weights(vector(0, 1.0))
    rule.observe(seen)
    rule.weights(vector(0, 1.02))
    assert rule.multiplier == pytest.approx(0.7)
    rule.weights(vector(0, 5.0))
    assert rule.multiplier == pytest.approx(0.7)


def test_guards() -> None:
    rule = EUPMU(dual_lr=1.0, multiplier_max=2.0)
    assert rule.update(1.0, 9.0, 0.1) == 2.0
    assert rule.update(1.0, float("nan"), 0.1) == 2.0
    assert rule.update(1.0, float("inf"), 0.1) == 2.0
    assert rule.update(9.0, 1.0, 0.1) == 0.0
    _, seen = objectives(START, UNLEARN, UTILITY)
    with pytest.raises(ConfigurationError, match="step length"):
        EUPMU().observe(seen)
    with pytest.raises(ConfigurationError, match="dual_lr"):
        EUPMU(dual_lr=0.0)


@pytest.mark.parametrize(
    "rule",
    [EUPMU(0.02, estimator=e) for e in ("next_batch", "same_batch", "probe")] + [EUPMU.compat(), UnilateralSurgery()],
)
def test_state_goes_through_json(rule: Rule) -> None:
    """Saved after some steps and restored into a new rule, the run goes on as if uninterrupted."""

    def run(cut: int | None) -> tuple[list[float], dict[str, Any]]:
        now = replace(rule)  # a fresh one
        model, seen = objectives(START, UNLEARN, UTILITY, probe=ONE)
        for number in range(12):
            if number == cut:
                state, now = json.loads(json.dumps(now.state_dict())), replace(rule)
                now.load_state_dict(state)
            now.backward(seen)
            seen.lr = LR
            seen.move(seen.direction(), -LR)
            now.observe(seen)
        return model.theta.tolist(), now.state_dict()

    assert run(5) == run(None)
