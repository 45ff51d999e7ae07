from __future__ import annotations

import math

import numpy as np
import pytest

from unweave.audit.attacks import epsilons, final_score, forgetting_score
from unweave.audit.attacks.forgetting import points


def brute(u: np.ndarray, r: np.ndarray, delta: float) -> float:
    """Every rule of both kinds, one by one."""
    values = np.unique(np.concatenate([u, r]))
    cuts = [values[0] - 1, *((values[1:] + values[:-1]) / 2), values[-1] + 1]
    if min(np.ptp(u), np.ptp(r)) < 0.01 * max(np.ptp(u), np.ptp(r)):
        return 50.0
    high, low = (r, u) if np.median(r) > np.median(u) else (u, r)
    peaky, wide = (r, u) if np.ptp(r) <= np.ptp(u) else (u, r)
    rates = [((low > c).mean(), (high <= c).mean()) for c in cuts]
    for i, a in enumerate(cuts):
        rates += [(((wide > a) & (wide < b)).mean(), 1 - ((peaky > a) & (peaky < b)).mean()) for b in cuts[i + 1 :]]
    best = 0.0
    for fpr, fnr in rates:
        if fpr <= 1e-12 and fnr <= 1e-12:
            return 50.0
        if fpr > 1e-12 and fnr > 1e-12:
            for x, y in ((fpr, fnr), (fnr, fpr)):
                if 1 - delta - x > 0:
                    best = max(best, math.log(1 - delta - x) - math.log(y))
    return min(best, 50.0)


def test_by_brute_force_with_and_without_ties() -> None:
    cases = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        u, r = rng.normal(0.3, 2, (9, 4)), rng.normal(0, 1, (11, 4))
        if seed % 2:
            u, r = u.round(), r.round()
        found = epsilons(u, r, delta=1e-3)
        assert found == pytest.approx([brute(u[:, i], r[:, i], 1e-3) for i in range(4)])
        cases += 1
    assert cases == 10


def test_the_ends_of_the_scale() -> None:
    u = np.random.default_rng(0).normal(size=(16, 2))
    assert (epsilons(u, u + 100) == 50).all()
    assert (epsilons(u * 1e-4, u) == 50).all(), "a range below 1 % of the other"
    same = np.ones((16, 2))
    assert (epsilons(same, same) == 0).all()
    assert forgetting_score(u, u + 100, permutations=2).value == 0.0


def test_points_by_hand() -> None:
    """N = 16: the last bucket ends at ceil(ln 15) = 3."""
    assert points(np.array([0.0, 0.49, 0.5, 1.2, 2.6, 3.0, 50.0]), 16) == pytest.approx([1, 1, 0.5, 0.25, 2**-5, 0, 0])
    assert final_score(0.5, 0.9, 1.0, 0.8, 0.8) == pytest.approx(0.45)


def test_an_exact_method_is_far_from_1_and_the_null_level_knows() -> None:
    rng = np.random.default_rng(3)
    u, r = rng.normal(size=(16, 80)), rng.normal(size=(16, 80))
    exact, off = forgetting_score(u, r), forgetting_score(u + 1, r)
    for found in (exact, off):
        assert found.null is not None and 0.1 < found.null.value < 0.16
    assert exact.value is not None and exact.p is not None and exact.p > 0.05
    assert (
        off.value is not None and off.null is not None and off.value < off.null.low and off.p == pytest.approx(1 / 41)
    )


def test_the_released_grid_finds_nearly_the_same() -> None:
    rng = np.random.default_rng(4)
    u, r = rng.normal(1, 2, (24, 6)), rng.normal(size=(24, 6))
    every, grid = epsilons(u, r), epsilons(u, r, compat="deepmind")
    assert (grid <= every + 1e-9).all() and grid == pytest.approx(every, abs=0.5)
    assert epsilons(u[:, :1] * 0, r[:, :1], compat="deepmind")[0] == 50.0
    assert (epsilons(u, r, delta=0.01) <= every).all()


def test_what_is_not_finite_stays_undefined() -> None:
    bad = np.zeros((4, 1))
    bad[0] = np.inf
    assert "not finite" in forgetting_score(bad, np.zeros((4, 1))).reason
    assert "at least 4 unlearned" in forgetting_score(np.zeros((3, 1)), np.zeros((4, 1))).reason
