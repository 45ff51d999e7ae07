"""Null bands hold an exact method's score nineteen times of twenty, and do not move with what a method does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from unweave.audit.attacks import forgetting_score, klom_score, per_example
from unweave.evaluation.metric import Array, Score

Scored = Callable[[Array, Array], Score]
EXAMPLES = 40


def overall(name: str, u: Array, r: Array) -> Score:
    return per_example(u, r, permutations=300).overall[name]


SCORES: dict[str, Scored] = {
    "klom": partial(klom_score, permutations=1),
    "forgetting": partial(forgetting_score, permutations=40),
    "mean_t2": partial(overall, "mean_t2"),
    "worst_decile": partial(overall, "worst_decile"),
}


def models(rng: np.random.Generator, count: int, shared: float) -> Array:
    """Margins of trainings: examples differ in difficulty and spread, those of one model go up and down together."""
    difficulty, spread = np.linspace(-2, 2, EXAMPLES), np.linspace(0.5, 2, EXAMPLES)
    return np.asarray(difficulty + spread * (rng.normal(size=(count, EXAMPLES)) + shared * rng.normal(size=(count, 1))))


@pytest.mark.parametrize("shared", [0.0, 1.0])
@pytest.mark.parametrize("count", [4, 12])
@pytest.mark.parametrize("name", SCORES)
def test_the_band_holds_an_exact_method(name: str, count: int, shared: float) -> None:
    cases, inside = 30, 0
    rng = np.random.default_rng(7)
    for _ in range(cases):
        found = SCORES[name](models(rng, count, shared), models(rng, count, shared))
        assert found.value is not None and found.null is not None
        inside += found.null.low - 1e-9 <= found.value <= found.null.high + 1e-9
    assert inside >= 25, f"{inside} of {cases}"  # at .95, P(fewer than 25 of 30) = .003


@pytest.mark.parametrize("name", SCORES)
def test_the_band_does_not_move_with_the_method(name: str) -> None:
    """It is what an exact method scores at these sizes, whatever this one did."""
    rng = np.random.default_rng(3)
    u, r = models(rng, 16, 0.5), models(rng, 16, 0.5)
    exact, leaking = (SCORES[name](u + shift, r) for shift in (0.0, 5.0))
    assert exact.null is not None and leaking.null is not None
    assert (exact.null.low, exact.null.high) == pytest.approx((leaking.null.low, leaking.null.high), abs=1e-6)
    assert not leaking.null.low <= leaking.value <= leaking.null.high  # type: ignore[operator]


def test_few_models_say_that_their_band_is_wide() -> None:
    rng = np.random.default_rng(1)
    few = klom_score(models(rng, 3, 0.0), models(rng, 3, 0.0), permutations=20).null
    assert few is not None and "too wide" in few.how
