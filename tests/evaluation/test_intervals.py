from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from unweave.evaluation.intervals import mean_interval, proportion_interval
from unweave.evaluation.ranking import auc_interval


def test_clopper_pearson_is_scipys() -> None:
    cases = [(k, n) for n in (1, 2, 7, 20, 130, 5000) for k in {0, 1, n // 3, n // 2, n - 1, n}]
    for k, n in cases:
        expected = stats.binomtest(k, n).proportion_ci(method="exact")
        assert proportion_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-10)


def test_clopper_pearson_covers_at_least_nominally() -> None:
    n = 30
    ends = np.array([proportion_interval(k, n) for k in range(n + 1)])
    for p in np.linspace(0.01, 0.99, 37):
        inside = (ends[:, 0] <= p) & (p <= ends[:, 1])
        assert stats.binom.pmf(np.arange(n + 1), n, p)[inside].sum() >= 0.95


def test_mean_interval_agrees_with_the_normal_one_on_a_large_sample() -> None:
    values = np.random.default_rng(0).exponential(size=4000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert mean_interval(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


def test_mean_interval_is_the_same_however_many_rows_are_drawn_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(1).normal(size=50)
    whole = mean_interval(values, seed=3)
    monkeypatch.setattr("unweave.evaluation.intervals._DRAWS_AT_A_TIME", 700)
    assert mean_interval(values, seed=3) == pytest.approx(whole, abs=1e-12)
    assert mean_interval(values, seed=4) != whole


def test_auc_interval_is_the_plain_loop_with_ties() -> None:
    rng = np.random.default_rng(2)
    m, o = rng.integers(0, 6, 30).astype(float), rng.integers(0, 5, 45).astype(float)
    rng_m, rng_o = np.random.default_rng(9).spawn(2)
    drawn_m, drawn_o = rng_m.integers(0, 30, (1000, 30)), rng_o.integers(0, 45, (1000, 45))
    areas = []
    for a, b in zip(drawn_m, drawn_o, strict=True):
        areas.append((m[a][:, None] > o[b]).mean() + (m[a][:, None] == o[b]).mean() / 2)
    assert auc_interval(m, o, seed=9) == pytest.approx(tuple(np.quantile(areas, [0.025, 0.975])), abs=1e-12)


def test_auc_interval_covers_one_half_under_the_null() -> None:
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        low, high = auc_interval(rng.normal(size=60), rng.normal(size=80), seed=seed)
        covered += low <= 0.5 <= high
    assert 88 <= covered <= 100
