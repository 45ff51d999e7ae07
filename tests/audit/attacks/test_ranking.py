from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from unweave.evaluation.ranking import Ranking, auc_interval, paired_error


def test_area_is_sklearns_and_the_p_value_scipys() -> None:
    cases = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        m, o = rng.normal(0.3, 1, 25).round(seed % 3), rng.normal(size=40).round(seed % 3)
        found = Ranking([(m, o)])
        assert found.area == pytest.approx(roc_auc_score(np.repeat([1, 0], [25, 40]), np.concatenate([m, o])))
        test = stats.mannwhitneyu(m, o, use_continuity=False, method="asymptotic")
        assert found.p == pytest.approx(test.pvalue, abs=1e-9)
        cases += 1
    assert cases == 20


def test_delong_is_near_the_bootstrap() -> None:
    rng = np.random.default_rng(1)
    m, o = rng.normal(0.7, 1, 150), rng.normal(size=200)
    assert Ranking([(m, o)]).interval == pytest.approx(auc_interval(np.sort(m), np.sort(o)), abs=0.012)


def test_the_interval_covers() -> None:
    covered, n = 0, 0
    for shift in (0.0, 0.8, 1.6):
        truth = stats.norm.cdf(shift / np.sqrt(2))
        for seed in range(150):
            rng = np.random.default_rng(seed)
            low, high = Ranking([(rng.normal(shift, 1, 40), rng.normal(size=60))]).interval
            covered += low <= truth <= high
            n += 1
    assert n == 450 and 0.93 <= covered / n <= 0.975


def test_separated_and_tied_scores_are_no_point() -> None:
    perfect = Ranking([(np.ones(30), np.zeros(40))])
    assert perfect.area == 1.0 and 0.85 < perfect.interval[0] < 0.95 and perfect.interval[1] == 1.0
    none = Ranking([(np.zeros(30), np.ones(40))])
    assert none.interval == pytest.approx((0.0, 1 - perfect.interval[0]), abs=1e-9)
    tied = Ranking([(np.ones(30), np.ones(40))])
    assert tied.area == 0.5 and tied.interval[0] < 0.45 and tied.interval[1] > 0.55 and tied.p == 1.0


def test_strata_compare_inside_only() -> None:
    """A constant added to one stratum changes nothing; pooled, it would."""
    rng = np.random.default_rng(2)
    parts = [(rng.normal(0.5, 1, 20), rng.normal(size=30)) for _ in range(3)]
    moved = [(m + 10 * i, o + 10 * i) for i, (m, o) in enumerate(parts)]
    assert Ranking(moved).area == pytest.approx(Ranking(parts).area)
    mean = np.mean([Ranking([part]).area for part in parts])
    assert Ranking(parts).area == pytest.approx(mean)


def test_the_paired_error_sees_what_two_attacks_share() -> None:
    rng = np.random.default_rng(3)
    m, o = rng.normal(1, 1, 100), rng.normal(size=100)
    one, noisy = Ranking([(m, o)]), Ranking([(m + 0.1 * rng.normal(size=100), o + 0.1 * rng.normal(size=100))])
    apart = np.sqrt(one.variance + noisy.variance)
    assert paired_error(one, one) == 0.0 and paired_error(one, noisy) < apart / 3
