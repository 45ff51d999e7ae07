from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from unweave.audit.attacks import benjamini_hochberg, per_example
from unweave.evaluation import UndefinedScore


def models(seed: int, n: int, examples: int, factor: float = 0.7) -> np.ndarray:
    """Margins with a factor that all examples of a model share."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, examples)) + factor * rng.normal(size=(n, 1))


@pytest.mark.parametrize("runs", [4, 8])
def test_an_exact_method_passes_at_its_level(runs: int) -> None:
    rejected = np.zeros(3)
    for seed in range(100):
        pool = models(seed, 2 * runs, 100)
        found = per_example(pool[:runs], pool[runs:], permutations=200, seed=seed)
        rejected += [e.p is not None and e.p <= 0.05 for e in found.overall.values()]
    assert (rejected / 100 <= 0.11).all()


def test_false_discoveries_are_controlled() -> None:
    """No example differs: in at most about 5 % of experiments is any called different."""
    some = 0
    for seed in range(60):
        pool = models(seed, 16, 50, factor=0.0)
        some += per_example(pool[:8], pool[8:], permutations=2000, seed=seed).found.any()
    assert some / 60 <= 0.12


def test_planted_leaks_are_found_and_named() -> None:
    """2 standard deviations on 5 % of the examples, 16 models a side."""
    u, r = models(0, 16, 200, 0.0), models(1, 16, 200, 0.0)
    u[:, :10] += 2.0
    found = per_example(u, r, permutations=4000)
    assert found.overall["worst_decile"].p is not None and found.overall["worst_decile"].p < 0.01
    assert found.found[:10].sum() >= 8 and found.found[10:].sum() <= 3
    assert (found.t[:10] > 0).all()
    worst = found.overall["worst_decile"]
    assert worst.null is not None and worst.value is not None and worst.value > worst.null.high


def test_t_is_students_and_all_arrangements_are_counted() -> None:
    u, r = models(2, 3, 6), models(3, 4, 6)
    found = per_example(u, r)
    t = stats.ttest_ind(u, r).statistic / np.sqrt(1 / (1 / 3 + 1 / 4))
    assert found.t == pytest.approx(t)
    both, count = np.concatenate([u, r]), np.zeros(6)
    for chosen in itertools.combinations(range(7), 3):
        rest = [i for i in range(7) if i not in chosen]
        other = np.abs(stats.ttest_ind(both[list(chosen)], both[rest]).statistic) * np.sqrt(1 / 3 + 1 / 4)
        count += other >= np.abs(t) - 1e-9
    assert found.p == pytest.approx(count / 35)
    assert found.smallest_p == pytest.approx(1 / 35) and per_example(u, r[:3]).smallest_p == pytest.approx(2 / 20)


def test_swapping_the_sides_turns_the_signs() -> None:
    u, r = models(4, 5, 20), models(5, 5, 20)
    one, other = per_example(u, r), per_example(r, u)
    assert one.t == pytest.approx(-other.t) and one.p == pytest.approx(other.p)


def test_examples_that_never_vary_and_scales_that_differ() -> None:
    u, r = models(6, 6, 5, 0.0), models(7, 6, 5, 0.0)
    u[:, 0] = r[:, 0] = 3.3
    found = per_example(u, r)
    assert found.t[0] == 0.0 and found.p[0] == 1.0
    scaled = per_example(u * [1, 1e-9, 1e9, 1, 1] + 5, r * [1, 1e-9, 1e9, 1, 1] + 5)
    assert scaled.t[2:] == pytest.approx(found.t[2:]) and scaled.t[1] == pytest.approx(found.t[1], rel=1e-4)


def test_benjamini_hochberg_by_hand_and_by_scipy() -> None:
    p = [0.01, 0.04, 0.03, 0.005, 0.2]  # thresholds .01 .02 .03 .04 .05 of the sorted: the fourth, 0.04, is the last
    assert benjamini_hochberg(p).tolist() == [True, True, True, True, False]
    cases = 0
    for seed in range(20):
        values = np.random.default_rng(seed).beta(0.5, 3, 40)
        assert (benjamini_hochberg(values) == (stats.false_discovery_control(values) <= 0.05)).all()
        cases += 1
    assert cases == 20


def test_what_cannot_be_tested() -> None:
    good = models(0, 4, 5)
    bad = good.copy()
    bad[0, 0] = np.nan
    for u, r, says in (
        (good[:1], good, "at least 2 unlearned"),
        (good, good[:, :3], "same examples; found 5 and 3"),
        (bad, good, "1 of 20 unlearned models are not finite"),
        (good[0], good, "need 2 axes"),
    ):
        with pytest.raises(UndefinedScore, match=says):
            per_example(u, r)
