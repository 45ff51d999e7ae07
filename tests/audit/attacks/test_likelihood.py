from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from unweave.audit.attacks import lira
from unweave.evaluation import UndefinedScore, auc


def shadows(seed: int, s: int, n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = rng.permuted(np.repeat(np.arange(s)[:, None] % 2 == 0, n, axis=1), axis=0)
    centre = rng.normal(0, 3, n)  # examples differ in difficulty, which is why LiRA is per example
    return centre + shift * member + rng.normal(size=(s, n)), member


def test_by_hand() -> None:
    """in = 2, 4 and out = 0, 2: medians 3 and 1, spread sqrt 2 both, target 3: log-ratio (3 - 1)^2 / (2 x 2) = 1."""
    values, member = np.array([[2.0], [4.0], [0.0], [2.0]]), np.array([[True], [True], [False], [False]])
    assert lira([3.0], values, member)[0] == pytest.approx(1.0)
    assert lira([3.0], values, member, pooled=False)[0] == pytest.approx(1.0)
    offline = lira([3.0], values, member, mode="offline")[0]
    assert offline == pytest.approx(stats.norm.logcdf(2 / np.sqrt(2)))


def test_it_is_the_neyman_pearson_ratio_for_normal_signals() -> None:
    """Many shadows: the score tends to log N(phi; c + 1, 1) - log N(phi; c, 1) = phi - c - 1/2."""
    values, member = shadows(0, 2000, 5, 1.0)
    centre = np.array([values[~member[:, i], i].mean() for i in range(5)])
    target = centre + 0.7
    assert lira(target, values, member) == pytest.approx(np.full(5, 0.2), abs=0.15)


def test_it_beats_the_population_attack_where_examples_differ() -> None:
    values, member = shadows(1, 33, 400, 1.5)
    target, truth = values[0], member[0]
    scores = lira(target, values[1:], member[1:])
    assert auc(scores[truth], scores[~truth]) > 0.8 > 0.7 > auc(target[truth], target[~truth])
    offline = lira(target, values[1:], member[1:], mode="offline")
    assert auc(offline[truth], offline[~truth]) > 0.75


def test_an_exact_method_scores_one_half() -> None:
    areas = []
    for seed in range(40):
        values, member = shadows(seed, 17, 100, 0.0)
        scores = lira(values[0], values[1:], member[1:])
        areas.append(auc(scores[member[0]], scores[~member[0]]))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)


def test_queries_are_averaged() -> None:
    values, member = shadows(2, 12, 30, 1.0)
    single = lira(values[0], values[1:], member[1:])
    twice = lira(np.stack([values[0]] * 2, 1), np.stack([values[1:]] * 2, 2), member[1:])
    assert twice == pytest.approx(single)


def test_the_released_code() -> None:
    """Its fixed spread is that of raw values, which the examples' differences inflate; offline it is two-sided."""
    values, member = shadows(3, 20, 50, 1.0)
    target = values[0]
    rest, seen = values[1:], member[1:]
    size_in, size_out = seen.sum(0).min(), (~seen).sum(0).min()
    inside = np.array([rest[seen[:, j], j][:size_in] for j in range(50)])
    outside = np.array([rest[~seen[:, j], j][:size_out] for j in range(50)])
    spread = inside.std()
    expected = stats.norm.logpdf(target, np.median(inside, 1), spread)
    expected -= stats.norm.logpdf(target, np.median(outside, 1), spread)
    assert lira(target, rest, seen, compat="lira") == pytest.approx(expected)
    free = stats.norm.logpdf(target, np.median(inside, 1), inside.std(1))
    free -= stats.norm.logpdf(target, np.median(outside, 1), outside.std(1))
    assert lira(target, rest, seen, compat="lira", pooled=False) == pytest.approx(free)
    centre = np.median(outside, 1)
    low, high = (lira(centre + d, rest, seen, mode="offline", compat="lira", pooled=False) for d in (-2.0, 2.0))
    assert low == pytest.approx(high)
    right = [lira(centre + d, rest, seen, mode="offline") for d in (-2.0, 2.0)]
    assert (right[0] < right[1]).all()


def test_too_few_shadows_or_broken_ones() -> None:
    values, member = shadows(4, 8, 5, 1.0)
    alone = member.copy()
    alone[:, 2] = False
    with pytest.raises(UndefinedScore, match="fewer in of 1 examples"):
        lira(values[0], values, alone)
    assert lira(values[0], values, alone, mode="offline").shape == (5,)
    broken = values.copy()
    broken[1, 1] = np.nan
    with pytest.raises(UndefinedScore, match="1 of 40 shadow models are not finite"):
        lira(values[0], broken, member)
    with pytest.raises(UndefinedScore, match="LiRA needs target"):
        lira(values[0], values, member[:, :3])
