r"""Attacks on single examples by reference models, LiRA and RMIA.

LiRA: is this example's margin more like that of models that were trained on it, or of models that were not?

    online    log N(phi; mu_in, s_in) - log N(phi; mu_out, s_out)
    offline   log Phi((phi - mu_out) / s_out)                        where no model was trained on the example

mu the medians and s the spreads over shadow models, example by example; with fewer than 64 shadows one spread for all
examples, of the residuals about each example's own mean. Carlini et al., IEEE S&P 2022.

RMIA, the relative attack: cheap, for one to four reference models (Zarifzadeh et al., ICML 2024).

    ratio(x) = p_target(x) / p(x),   p(x) = ((1 + a) mean_k p_k(x) + 1 - a) / 2,
    score(x) = share of population examples z with ratio(x) / ratio(z) > gamma

p_k the confidences of reference models that never saw x; `a` stands in for reference models that did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unweave.errors import ConfigurationError
from unweave.evaluation.metric import Array, UndefinedScore, whole
from unweave.evaluation.ranking import Ranking

POOLED_BELOW = 64
A = 0.3
Mask = NDArray[np.bool_]


def lira(
    target: ArrayLike,
    shadows: ArrayLike,
    member: ArrayLike,
    *,
    mode: Literal["online", "offline"] = "online",
    pooled: bool | None = None,
    compat: Literal["lira"] | None = None,
) -> Array:
    """The log-likelihood ratio of each example, `[n]`, higher for members.

    Args:
        target: margins of the attacked model, `[n]`, or `[n, q]` for q augmented queries, whose scores are averaged.
        shadows: margins of the shadow models, `[S, n]` or `[S, n, q]`.
        member: whether the shadow was trained on the example, `[S, n]`.
        mode: "offline" uses the shadows that were not.
        pooled: one spread for all examples; None for fewer than 64 shadows.
        compat: "lira" for the released code: its pooled spread is over raw values, not residuals, and the one of the
            models that were trained on the example serves both; its offline score is a density, so two-sided.

    Raises:
        UndefinedScore: an example with fewer than two shadows on a side, or a margin that is not finite.
    """
    phi, values, seen = _checked(target, shadows, member)
    pooled = len(values) < POOLED_BELOW if pooled is None else pooled
    sides = {"in": seen, "out": ~seen}
    sides = sides if mode == "online" else {"out": ~seen}
    few = [
        f"{name} of {int((mask.sum(0) < 2).sum())} examples" for name, mask in sides.items() if mask.sum(0).min() < 2
    ]
    if few:
        raise UndefinedScore(
            f"LiRA needs two shadow models a side for every example; there are fewer {', '.join(few)}."
        )
    if compat:
        return _released(phi, values, sides, pooled)
    fits = {name: fit(values, mask, pooled) for name, mask in sides.items()}
    if mode == "offline":
        from scipy.special import log_ndtr

        centre, spread = fits["out"]
        return np.asarray(log_ndtr((phi - centre) / spread).mean(axis=1))
    return np.asarray((log_normal(phi, *fits["in"]) - log_normal(phi, *fits["out"])).mean(axis=1))


def fit(values: Array, mask: Mask, pooled: bool) -> tuple[Array, Array]:
    """Median and spread over the masked models, `[n, q]` each, from `[S, n, q]` and `[S, n]`."""
    part = np.where(mask[:, :, None], values, np.nan)
    count = mask.sum(axis=0)[:, None]
    ordered = np.sort(part, axis=0)  # NaN last
    middle = [np.take_along_axis(ordered, rank[None], axis=0)[0] for rank in _middle(count, values.shape[2])]
    mean = np.nansum(part, axis=0) / count
    squares = np.nansum((part - mean) ** 2, axis=0)
    if pooled:
        variance = squares.sum(axis=0) / max(int((count - 1).sum()), 1) * np.ones_like(squares)
    else:
        variance = squares / np.maximum(count - 1, 1)
    return (middle[0] + middle[1]) / 2, np.sqrt(np.maximum(variance, 1e-20))


def log_normal(phi: Array, centre: Array, spread: Array) -> Array:
    """log N(phi; centre, spread) without its constant."""
    return np.asarray(-0.5 * ((phi - centre) / spread) ** 2 - np.log(spread))


def _middle(count: NDArray[np.int64], queries: int) -> list[NDArray[np.int64]]:
    ranks = ((count - 1) // 2, count // 2)
    return [np.repeat(np.maximum(rank, 0), queries, axis=1) for rank in ranks]


def _checked(target: ArrayLike, shadows: ArrayLike, member: ArrayLike) -> tuple[Array, Array, Mask]:
    axes = np.ndim(target)
    phi = whole(target, "examples of the target", axes=axes)
    values = whole(shadows, "shadow models", axes=axes + 1)
    seen = np.asarray(member, dtype=bool)
    if axes == 1:
        phi, values = phi[:, None], values[:, :, None]
    if values.shape[1:] != phi.shape or seen.shape != values.shape[:2]:
        raise UndefinedScore(
            f"LiRA needs target [n(, q)], shadows [S, n(, q)] and member [S, n]; found {list(np.shape(target))}, "
            f"{list(np.shape(shadows))} and {list(seen.shape)}."
        )
    return phi, values, seen


def _released(phi: Array, values: Array, sides: dict[str, Mask], pooled: bool) -> Array:
    """The released `plot.py`, its sign turned: the first models of each side, as many as the poorest example has."""
    fits = {}
    for name, mask in sides.items():
        size = int(mask.sum(axis=0).min())
        first = np.argsort(~mask, axis=0, kind="stable")[:size]
        part = np.take_along_axis(values, first[:, :, None], axis=0)
        spread = np.full(part.shape[1:], part.std()) if pooled else part.std(axis=0)
        fits[name] = np.median(part, axis=0), spread + 1e-30
    if "in" not in fits:
        return np.asarray(-log_normal(phi, *fits["out"]).mean(axis=1))
    inside, outside = fits["in"], fits["out"]
    outside = (outside[0], inside[1]) if pooled else outside
    return np.asarray((log_normal(phi, *inside) - log_normal(phi, *outside)).mean(axis=1))


def rmia(
    target: ArrayLike,
    reference: ArrayLike,
    population: ArrayLike,
    population_reference: ArrayLike,
    *,
    a: float = A,
    gamma: float = 1.0,
) -> Array:
    """The score of each queried example, `[n]`, between 0 and 1, higher for members.

    Args:
        target: the attacked model's p_y, `[n]`.
        reference: p_y under models that never saw these examples, `[k, n]`.
        population: the attacked model's p_y of examples that it never saw, `[z]`.
        population_reference: p_y of those under the reference models, `[k, z]`.
        a: between 0 and 1; `tuned` finds one.
        gamma: at least 1.

    Raises:
        ConfigurationError: `a` or `gamma` out of range.
        UndefinedScore: a confidence that is not finite, or no examples.
    """
    if not (0 <= a <= 1 and gamma >= 1):
        raise ConfigurationError(f"RMIA needs a between 0 and 1 and gamma of at least 1; found a={a}, gamma={gamma}.")
    x = _ratio(target, reference, a, "queried")
    z = np.sort(_ratio(population, population_reference, a, "population"))
    return np.asarray(np.searchsorted(z, x / gamma, "left") / len(z))


def tuned(
    confidences: ArrayLike, member: ArrayLike, *, grid: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
) -> float:
    """The `a` with the largest AUC when each reference model in turn is attacked with the others.

    The examples that the attacked one never saw are its population; the others' mean is over those that never saw x.

    Args:
        confidences: p_y of reference models, `[k, n]`, k of at least 2.
        member: whether the model was trained on the example, `[k, n]`.
        grid: the values to try.

    Raises:
        UndefinedScore: fewer than two models, or a confidence that is not finite.
    """
    p = whole(confidences, "reference models", axes=2, at_least=2)
    seen = np.asarray(member, dtype=bool)
    best, found = -1.0, A
    for a in grid:
        areas = []
        for i in range(len(p)):
            unseen = ~np.delete(seen, i, axis=0)
            count = unseen.sum(axis=0)
            mean = (np.delete(p, i, axis=0) * unseen).sum(axis=0) / np.maximum(count, 1)
            usable = (count > 0) & seen[i], (count > 0) & ~seen[i]
            ratio = p[i] / np.maximum(((1 + a) * mean + 1 - a) / 2, 1e-300)
            if min(side.sum() for side in usable):
                areas.append(Ranking([(ratio[usable[0]], ratio[usable[1]])]).area)
        if areas and float(np.mean(areas)) > best:
            best, found = float(np.mean(areas)), a
    return found


def _ratio(target: ArrayLike, reference: ArrayLike, a: float, what: str) -> Array:
    p = whole(target, f"{what} examples", axes=1)
    mean = whole(reference, f"reference models of the {what} examples", axes=2).mean(axis=0)
    return np.asarray(p / np.maximum(((1 + a) * mean + 1 - a) / 2, 1e-300))
