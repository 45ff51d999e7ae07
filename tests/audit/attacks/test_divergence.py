from __future__ import annotations

import numpy as np
import pytest

from unweave.audit.attacks import klom, klom_score
from unweave.evaluation import UndefinedScore


def brute(u: np.ndarray, r: np.ndarray) -> float:
    u, r = np.clip(u, -100, 100), np.clip(r, -100, 100)
    both = np.concatenate([u, r])
    p, q = (np.histogram(x, bins=20, range=(both.min(), both.max()))[0] / len(x) for x in (u, r))
    return sum(a * np.log(a / max(b, 1e-5)) for a, b in zip(p, q, strict=True) if a > 0)


def test_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    u, r = rng.normal(0.5, 60, (30, 25)), rng.normal(0, 60, (40, 25))
    assert klom(u, r) == pytest.approx([brute(u[:, i], r[:, i]) for i in range(25)])


def test_equal_and_separated_pools() -> None:
    u = np.random.default_rng(1).normal(size=(20, 3))
    assert klom(u, u) == pytest.approx(np.zeros(3))
    assert klom(np.ones((5, 1)), np.ones((5, 1)))[0] == 0.0
    assert klom(np.zeros((5, 1)), np.ones((5, 1)))[0] == pytest.approx(-np.log(1e-5))


def test_the_null_level_is_the_published_tables() -> None:
    """0.35 at 100 models a side, 0.89 at 50, 5.64 at 10 for normal margins; one standard deviation adds to it."""
    rng = np.random.default_rng(2)
    for n, level in ((100, 0.35), (50, 0.89), (10, 5.64)):
        u, r = rng.normal(size=(n, 300)), rng.normal(size=(n, 300))
        assert klom(u, r).mean() == pytest.approx(level, rel=0.12)
        shifted = klom_score(u + 1, r, permutations=20)
        assert shifted.null is not None and shifted.null.value == pytest.approx(level, rel=0.12)
        assert shifted.value is not None and shifted.value > shifted.null.high
        assert shifted.p == pytest.approx(1 / 21)


def test_an_exact_method_passes_at_its_level() -> None:
    rejected = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        pool = rng.normal(size=(24, 30)) + rng.normal(size=(24, 1))
        p = klom_score(pool[:12], pool[12:], permutations=39, seed=seed).p
        rejected += p is not None and p <= 0.05
    assert rejected / 60 <= 0.12


def test_the_released_bins_drop_the_largest_margin() -> None:
    u, r = np.array([[0.0], [1.0]]), np.array([[0.0], [0.5]])
    assert klom(u, r)[0] == pytest.approx(0.5 * np.log(0.5 / 1e-5))
    assert klom(u, r, compat="data-unlearning-bench")[0] == pytest.approx(0.0)
    with pytest.raises(UndefinedScore, match="as many models on both sides"):
        klom(u, r[:1].repeat(3, axis=0), compat="data-unlearning-bench")


def test_what_is_not_finite_stays_undefined() -> None:
    bad = np.array([[np.nan], [0.0]])
    assert "1 of 2 unlearned models are not finite" in klom_score(bad, np.zeros((2, 1))).reason
    assert "at least 2 retrained" in klom_score(np.zeros((2, 1)), np.zeros((1, 1))).reason
