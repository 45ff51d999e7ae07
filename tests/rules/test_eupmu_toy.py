"""EUPMU end to end on two parameters, through Objectives and SGD."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.reference import eupmu as slow
from tests.rules._toy import LR, START, STEPS, go, implicit
from unweave.rules import EUPMU, UnilateralSurgery


@pytest.mark.slow
def test_toy_exact() -> None:
    rows = [(0.0, 0.983293, 0.435798), (0.05, 0.311776, 1.424275), (0.1, 0.087409, 2.413580), (0.5, 0.0, 4.0)]
    for tolerance, *losses in rows:
        theta, ends, multipliers = go(UnilateralSurgery(tolerance))
        assert ends[0] == pytest.approx(losses, abs=6e-7)
        if not tolerance:
            assert theta == pytest.approx([0.874984, 0.162786], abs=6e-7)
            assert multipliers[-1] == pytest.approx(1.285755, abs=6e-7)


def test_toy_implicit() -> None:
    rows = [
        (0.0, 0.1, 0.649535, 0.776812, 0.751256),
        (0.0, 1.0, 0.950021, 0.462333, 1.222988),
        (0.05, 0.1, 0.271205, 1.544931, None),
        (0.05, 1.0, 0.692601, 0.721607, 1.662920),
        (0.5, 0.1, 0.0, 4.0, 0.0),
    ]
    for tolerance, dual_lr, l_u, l_r, multiplier in rows:
        _, ends, multipliers = implicit(tolerance, dual_lr)
        assert ends[0] == pytest.approx([l_u, l_r], abs=6e-7)
        if multiplier is not None:
            assert multipliers[-1] == pytest.approx(multiplier, abs=6e-7)


def test_next_batch_is_same_batch_one_look_later() -> None:
    """On full batches: the same path, and the multiplier of each step known at the next."""
    now, later = (go(EUPMU(0.03, 0.5, estimator), 60) for estimator in ("same_batch", "next_batch"))
    assert now[:2] == later[:2]
    assert later[2] == [0.0, *now[2][:-1]]


def test_a_larger_tolerance_ends_with_a_larger_retain_loss() -> None:
    """The sign that the authors' code has the other way round."""
    for ends in (
        [go(UnilateralSurgery(e), 100)[1][0][1] for e in (-0.1, 0.0, 0.05, 0.1)],
        [implicit(e, 1.0)[1][0][1] for e in (0.0, 0.05, 0.3)],
    ):
        assert all(a < b - 0.05 for a, b in pairwise(ends)), ends


def test_cumulative_sum_identity() -> None:
    """`m_t = S_t - min_s S_s`, `S_t = (dual_lr / lr) L_r(t) - dual_lr sum eps`."""
    checked = 0
    for tolerance in (0.0, 0.05, 0.3):
        for dual_lr in (0.1, 1.0, 5.0):
            _, (last, *before), multipliers = implicit(tolerance, dual_lr)
            retain = torch.tensor([x[1] for x in [*before, last]], dtype=torch.float64)
            s = dual_lr * (retain / LR - tolerance * torch.arange(STEPS + 1, dtype=torch.float64))
            expected = (s - s.cummin(0).values)[1:]
            assert (torch.tensor(multipliers, dtype=torch.float64) - expected).abs().max() <= 1e-12 * s.abs().max()
            checked += 1
            if not tolerance:
                excess = {0.1: 0.375628, 1.0: 0.061149, 5.0: 0.052295}[dual_lr]
                assert float(retain[-1] - retain.min()) == pytest.approx(excess, abs=6e-7)
    assert checked == 9


def test_estimate_is_of_first_order_in_the_step() -> None:
    """Error of the finite difference: `-(lr / 2) d^T H_r d`, exactly, on a quadratic."""
    for lr, expected in ((0.1, 2.651875), (0.01, 3.5276875), (0.001, 3.61526875)):
        rule = EUPMU(0.1, dual_lr=1e-3, estimator="same_batch")
        rule.multiplier = 0.3
        go(rule, 1, lr)
        assert (0.3 - rule.multiplier) / 1e-3 == pytest.approx(expected, rel=1e-9)
        d = torch.tensor([START[0] - 2 + 0.3 * START[0], START[1] - 1 + 1.2 * START[1]])
        assert 3.625 - lr / 2 * float(d[0] ** 2 + 4 * d[1] ** 2) == pytest.approx(expected, rel=1e-6)


def test_a_budget_bounds_the_rise_of_the_retain_loss() -> None:
    """Up to the stiffness of the multiplier, `lr m / dual_lr`, by the identity above; what is tolerated is used."""
    rises = []
    for budget in (0.2, 0.8, 1.6):
        _, (last, first, *_), multipliers = go(EUPMU(budget=budget, steps=200, dual_lr=0.3), 200)
        rises.append(last[1] - first[1])
        assert rises[-1] <= budget + LR * multipliers[-1] / 0.3 + 1e-12
    assert all(a < b - 0.3 for a, b in pairwise(rises)), rises


def test_fast_is_slow() -> None:
    """The twin on flat vectors: exact and implicit, every multiplier of every step."""
    u, r = (lambda t: t - np.array([2.0, 1.0])), (lambda t: np.array([1.0, 4.0]) * t)
    loss = lambda t: float(t @ r(t)) / 2  # noqa: E731
    for tolerance in (-0.1, 0.0, 0.07):
        end, lam = slow.exact(np.array(START), u, r, tolerance, LR, 50)
        theta, _, multipliers = go(UnilateralSurgery(tolerance), 50)
        assert [*theta, multipliers[-1]] == pytest.approx([*end, lam], rel=1e-9, abs=1e-12)
        path = slow.implicit(np.array(START), u, r, loss, tolerance, LR, 0.7, 50)
        theta, _, multipliers = go(EUPMU(tolerance, 0.7, "same_batch"), 50)
        assert theta == pytest.approx(path[-1][0], rel=1e-9)
        assert multipliers == pytest.approx([m for _, m in path], rel=1e-9, abs=1e-12)
