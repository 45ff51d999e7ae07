"""Two pools of models, and what the same score says of two pools of one distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from unweave.evaluation.evidence import Null, null_of, whole
from unweave.evaluation.value import Array, UndefinedScore

DRAWS = 40


def pools(unlearned: ArrayLike, retrained: ArrayLike, at_least: int = 2) -> tuple[Array, Array]:
    """Margins `[N, n]` and `[M, n]` of the same n examples.

    Raises:
        UndefinedScore: too few models, other examples on the two sides, or a value that is not finite.
    """
    u = whole(unlearned, "unlearned models", axes=2, at_least=at_least)
    r = whole(retrained, "retrained models", axes=2, at_least=at_least)
    if u.shape[1] != r.shape[1]:
        raise UndefinedScore(f"Both sides need the same examples; found {u.shape[1]} and {r.shape[1]}.")
    return u, r


def null_level(u: Array, r: Array, score: Callable[[Array, Array], float], seed: int, draws: int = DRAWS) -> Null:
    """The score of two pools as large as these, drawn from one distribution.

    Each pool is centred and scaled example by example, the rows (whole models) are pooled and dealt out again: what
    tells the two pools apart is gone, the shape and the correlation between examples stay.
    """
    rows = np.concatenate([_standard(u), _standard(r)])
    rng, found = np.random.default_rng(seed), []
    for _ in range(draws):
        order = rng.permutation(len(rows))
        found.append(score(rows[order[: len(u)]], rows[order[len(u) :]]))
    return null_of(np.array(found), f"{draws} exchanges of whole models, each pool standardised first")


def exchange_p(u: Array, r: Array, score: Callable[[Array, Array], float], seed: int, draws: int) -> float:
    """p-value of "both pools are one distribution", large scores against it, by exchanging whole models."""
    rows, own = np.concatenate([u, r]), score(u, r)
    rng, beyond = np.random.default_rng(seed), 1
    for _ in range(draws):
        order = rng.permutation(len(rows))
        beyond += score(rows[order[: len(u)]], rows[order[len(u) :]]) >= own - 1e-12
    return beyond / (draws + 1)


def _standard(x: Array) -> Array:
    centred = x - x.mean(axis=0)
    spread = centred.std(axis=0)
    return np.where(spread > 1e-12, centred / np.where(spread > 1e-12, spread, 1.0), 0.0)
