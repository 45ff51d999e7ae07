"""The bounds against published values, a slow twin, and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm, t, ttest_ind

from unweave.contract import bounds

# b, c, n, two-sided confidence, lower, upper; Tango (1998), table III (contact lenses), and Fagerland, Lydersen and
# Laake, Stat. Med. 33 (2014) 2850, on Bentur's airways, both printed with three digits.
PUBLISHED = [(0, 1, 44, 0.90, -0.096, 0.037), (1, 7, 21, 0.95, -0.517, -0.026)]


@pytest.mark.parametrize(("b", "c", "n", "confidence", "low", "high"), PUBLISHED)
def test_published_intervals(b: int, c: int, n: int, confidence: float, low: float, high: float) -> None:
    alpha = (1 - confidence) / 2
    assert round(bounds.tango(b, c, n, alpha), 3) == high
    assert round(-bounds.tango(c, b, n, alpha), 3) == low


def slow(b: int, c: int, n: int, alpha: float) -> float:
    """The constrained likelihood maximised by search, the score equation solved by another solver."""

    def statistic(delta: float) -> float:
        def loss(q: float) -> float:  # q: the original alone fails; q + delta: the new model alone fails
            cells = ((b, q + delta), (c, q), (n - b - c, 1 - 2 * q - delta))
            return -sum(k * math.log(max(p, 1e-300)) for k, p in cells if k)

        low, high = max(0.0, -delta), (1 - delta) / 2
        q = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
        return (b - c - n * delta) / math.sqrt(n * (2 * q + delta - delta * delta))

    z = norm.isf(alpha)
    return float(brentq(lambda delta: statistic(delta) + z, (b - c) / n + 1e-9, 1 - 1e-9, xtol=1e-12))


def test_the_closed_form_is_the_maximum_of_the_likelihood() -> None:
    count = 0
    for n in (12, 60, 291):
        for b, c in ((0, 1), (1, 0), (3, 3), (7, 2), (2, 9)):
            for alpha in (0.05, 0.0125):
                assert bounds.tango(b, c, n, alpha) == pytest.approx(slow(b, c, n, alpha), abs=2e-5)
                count += 1
    assert count == 30


def test_no_discordance_leaves_what_smallest_says() -> None:
    count = 0
    for n in (10, 100, 1000):
        for alpha in (0.05, 0.01):
            assert bounds.tango(0, 0, n, alpha) == pytest.approx(bounds.smallest(n, alpha), rel=1e-12)
            limit = 1.3 * bounds.smallest(n, alpha)
            enough = bounds.needed(limit, alpha)
            assert bounds.smallest(enough, alpha) <= limit < bounds.smallest(enough - 1, alpha)
            assert bounds.smallest(bounds.size(0.01, alpha), alpha) < 0.01 / 1.9
            count += 1
    assert count == 6


def test_ends_of_the_scale() -> None:
    assert bounds.tango(5, 0, 5, 0.05) == 1.0
    assert bounds.tango(0, 5, 5, 0.05) < 0
    for binary in (True, False):
        assert bounds.upper(np.array([0.0, np.nan]), 0.05, binary=binary) == math.inf
        assert bounds.upper(np.array([]), 0.05, binary=binary) == math.inf
    assert bounds.upper(np.array([0.3]), 0.05, binary=False) == math.inf


def test_which_bound_is_taken() -> None:
    binary, real = np.array([1.0, 0, 0, -1, 0, 0]), np.array([0.5, 0, 0.1, -1, 0, 0])
    assert bounds.upper(binary, 0.05, binary=True) == bounds.tango(1, 1, 6, 0.05)
    assert bounds.upper(np.zeros(6), 0.05, binary=False) == 0.0 < bounds.upper(np.zeros(6), 0.05, binary=True)
    expected = real.mean() + t.isf(0.05, 5) * real.std(ddof=1) / math.sqrt(6)
    assert bounds.upper(real, 0.05, binary=False) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "b", "c"), [(300, 0.02, 0.01), (150, 0.05, 0.05), (600, 0.01, 0.002)])
def test_tango_covers(n: int, b: float, c: float) -> None:
    """The true difference is above the bound about as often as promised; a score test is not exact."""
    draws = np.random.default_rng(0).multinomial(n, [b, c, 1 - b - c], size=4000)
    pairs, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    missed = sum(k for (x, y), k in zip(pairs, counts, strict=True) if bounds.tango(int(x), int(y), n, 0.05) < b - c)
    assert missed / 4000 < 0.065


def test_student_covers() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, size=(2000, 40))
    missed = sum(bounds.student(row, 0.05) < 0.3 for row in values)
    assert 0.035 < missed / 2000 < 0.065


def test_welch_is_scipys() -> None:
    rng, count = np.random.default_rng(1), 0
    for shift in (-1.0, 0.0, 0.5):
        x, y = rng.normal(shift, 1.0, 30), rng.normal(0.0, 3.0, 80)
        assert bounds.below(x, y) == pytest.approx(ttest_ind(x, y, equal_var=False, alternative="less").pvalue)
        count += 1
    assert count == 3
    assert bounds.below(np.zeros(5), np.ones(5)) == 0.0 and bounds.below(np.ones(5), np.ones(5)) == 1.0
    assert bounds.below(np.zeros(1), np.ones(9)) == 1.0


def test_the_level_is_divided_by_paths_and_groups() -> None:
    assert bounds.level(0.95) == pytest.approx(0.05) and bounds.level(0.95, 4, 10) == pytest.approx(0.00125)
