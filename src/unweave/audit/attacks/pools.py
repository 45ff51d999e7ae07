"""Two pools of models, and what the same score says of two pools of one distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unweave.evaluation.metric import Array, Null, UndefinedScore, null_of, whole

DRAWS = 100
FEWEST = 4
"""Models a side, from which on centred pools say what an exact method scores."""
WIDER = 1.2
"""So that the band holds an exact method's score in 95 % of cases (`tests/audit/attacks/test_null_levels.py`)."""


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


def null_level(
    u: Array, r: Array, score: Callable[[Array, Array], float], seed: int, *, fewest: int = FEWEST, draws: int = DRAWS
) -> Null:
    """The score of two pools as large as these, drawn from one distribution.

    The rows (whole models) of both pools are dealt out again. Each pool is centred first, example by example, and
    scaled by `sqrt(N / (N - 1))` for what centring takes: what tells the pools apart is gone, the spread and the
    correlation between examples stay. With fewer than `fewest` models a side centring leaves too little: the rows are
    exchanged as they are, which is right for an exact method, and too wide for another.

    Args:
        u, r: margins `[N, n]` and `[M, n]`.
        score: of two such pools.
        seed: of the exchanges.
        fewest: models a side.
        draws: exchanges.
    """
    enough = min(len(u), len(r)) >= fewest
    rows = np.concatenate([centred(u), centred(r)] if enough else [u, r])
    rng, found = np.random.default_rng(seed), list[float]()
    while len(found) < draws:
        order = rng.permutation(len(rows))
        if not (enough and is_dealt(order[: len(u)], len(u), len(rows))):
            found.append(score(rows[order[: len(u)]], rows[order[len(u) :]]))
    return exchanged_level(np.array(found), enough)


def exchanged_level(found: Array, enough: bool) -> Null:
    """From the scores of exchanged pools; none below 0; of centred pools the ends are moved out by a fifth."""
    if not enough:
        return null_of(found, f"{len(found)} exchanges of whole models as they are: too wide for other methods")
    low, middle, high = np.quantile(found, (0.025, 0.5, 0.975))
    low, high = (float(middle + WIDER * (end - middle)) for end in (low, high))
    how = f"{len(found)} exchanges of whole models, each pool centred first"
    return Null(float(found.mean()), max(low, 0.0), high, how)


def centred(x: Array) -> Array:
    """Each column without its mean, with the variance that it had around the true one."""
    return (x - x.mean(axis=0)) * np.sqrt(len(x) / (len(x) - 1))


def is_dealt(chosen: NDArray[np.int64], count: int, models: int) -> bool:
    """Whether the chosen rows are one of the two pools as they were: then nothing was exchanged."""
    return bool((chosen < count).all() or (len(chosen) == models - count and (chosen >= count).all()))


def exchange_p(u: Array, r: Array, score: Callable[[Array, Array], float], seed: int, draws: int) -> float:
    """p-value of "both pools are one distribution", large scores against it, by exchanging whole models."""
    rows, own = np.concatenate([u, r]), score(u, r)
    rng, beyond = np.random.default_rng(seed), 1
    for _ in range(draws):
        order = rng.permutation(len(rows))
        beyond += score(rows[order[: len(u)]], rows[order[len(u) :]]) >= own - 1e-12
    return beyond / (draws + 1)
