r"""RMIA, the relative attack: cheap, for one to four reference models (Zarifzadeh et al., ICML 2024).

    ratio(x) = p_target(x) / p(x),   p(x) = ((1 + a) mean_k p_k(x) + 1 - a) / 2,
    score(x) = share of population examples z with ratio(x) / ratio(z) > gamma

p_k the confidences of reference models that never saw x; `a` stands in for reference models that did.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from unweave.audit.attacks.ranking import Ranking
from unweave.errors import ConfigurationError
from unweave.evaluation.evidence import whole
from unweave.evaluation.value import Array

A = 0.3


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
