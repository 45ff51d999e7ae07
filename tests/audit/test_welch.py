from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from unweave.audit.runs import difference, prediction
from unweave.evaluation import UndefinedScore


def test_by_hand() -> None:
    """u = 1, 3 and r = 0, 2, 4: d = 0, se^2 = 2/2 + 4/3 = 7/3, nu = (7/3)^2 / (1 + (4/3)^2 / 2) = 2.8824."""
    found = difference([1, 3], [0, 2, 4])
    assert (found.value, found.error**2) == (0.0, pytest.approx(7 / 3))
    assert found.freedom == pytest.approx((7 / 3) ** 2 / (1 + 8 / 9))
    assert found.p == 1.0


def test_interval_and_p_are_scipys() -> None:
    cases = 0
    for k, m in ((2, 2), (3, 5), (8, 4), (20, 20)):
        for seed in range(5):
            rng = np.random.default_rng(seed)
            u, r = rng.normal(0.5, 1, k), rng.normal(0, 2, m)
            expected = stats.ttest_ind(u, r, equal_var=False)
            ends = expected.confidence_interval(0.95)
            assert difference(u, r).interval() == pytest.approx((ends.low, ends.high), abs=1e-9)
            assert difference(u, r).p == pytest.approx(expected.pvalue, abs=1e-9)
            cases += 1
    assert cases == 20


def test_equivalence_is_the_ninety_percent_interval_inside_the_margin() -> None:
    agree = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = difference(rng.normal(0.3, 1, 6), rng.normal(0, 1, 6))
        low, high = found.interval(0.9)
        agree += (found.equivalence(1.2) <= 0.05) == (low > -1.2 and high < 1.2)
    assert agree == 200


def test_intervals_cover_and_equivalence_errs_at_its_level() -> None:
    """Three against five runs of unequal spread: the interval covers 0, and at the margin TOST passes 5 % at most."""
    covered = passed = 0
    for seed in range(600):
        rng = np.random.default_rng(seed)
        u, r = rng.normal(0, 1, 3), rng.normal(0, 0.5, 5)
        low, high = difference(u, r).interval()
        covered += low <= 0 <= high
        passed += difference(u + 1.5, r).equivalence(1.5) <= 0.05
    assert 0.93 <= covered / 600 <= 0.985
    assert passed / 600 <= 0.07


def test_the_null_band_holds_an_exact_method_in_95_percent() -> None:
    inside = 0
    for seed in range(600):
        runs = np.random.default_rng(seed).normal(90, 0.6, 8)
        inside += abs(runs[:3].mean() - runs[3:].mean()) <= prediction(runs[3:], 3)
    assert 0.93 <= inside / 600 <= 0.97


def test_runs_without_any_spread_are_a_point() -> None:
    same = difference([0.1] * 3, [0.1] * 4)
    assert same.interval() == (0.0, 0.0) and same.p == 1.0 and same.equivalence(0.5) == 0.0
    other = difference([2.0] * 3, [1.0] * 3)
    assert other.interval() == (1.0, 1.0) and other.p == 0.0 and other.equivalence(0.5) == 1.0


@pytest.mark.parametrize(
    ("u", "r", "says"),
    [
        ([1.0], [1.0, 2.0], "at least 2 unlearned runs"),
        ([1.0, 2.0], [1.0], "at least 2 retrained runs"),
        ([1.0, np.nan], [1.0, 2.0], "1 of 2 unlearned runs are not finite"),
        ([1.0, 2.0], [np.inf, 2.0], "1 of 2 retrained runs are not finite"),
    ],
)
def test_what_has_no_difference(u: list[float], r: list[float], says: str) -> None:
    with pytest.raises(UndefinedScore, match=says):
        difference(u, r)
