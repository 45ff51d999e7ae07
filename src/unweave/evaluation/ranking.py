r"""The area under the ROC curve, its two intervals, and what two samples of one distribution score.

    A = P(member's score > other's) + P(equal) / 2,   var A = var_i V_i / m + var_j W_j / n,

V_i the share of others below member i, W_j the share of members above other j (ties half). DeLong, DeLong and
Clarke-Pearson, Biometrics 44 (1988). The interval is formed on the logit scale; where the variance is 0 (separated
scores, or all tied) it is Newcombe's, Statistics in Medicine 25 (2006), method 5, which is never a point. A sheet's
AUC has the bootstrap's (`auc_interval`), whose draws of examples are also those of the numbers beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unweave.evaluation.intervals import function_interval, resamples
from unweave.evaluation.metric import Array, Null, finite, null_of

FEWEST = 20  # below this an AUC that should be 0.5 reads anything from 0.3 to 0.7
Z = 1.959963984540054  # P(N(0, 1) > Z) = 0.025


def auc(members: ArrayLike, others: ArrayLike) -> float:
    """`P(member's score > other's) + P(equal) / 2`, the area under the ROC curve, by midranks.

    Raises:
        UndefinedScore: fewer than 20 on a side, or a score that is not finite.
    """
    m, o = finite(members, "forget", FEWEST), finite(others, "held-out", FEWEST)
    return float(_midranks(m, o).mean() / len(o))


def areas(scores: Array, members: NDArray[np.bool_], skipped: NDArray[np.bool_] | None = None) -> Array:
    """The AUC of every row of scores, `[rows]`; NaN where a row has one kind only.

    Args:
        scores: `[rows, n]`.
        members: which are members, `[rows, n]`; all else are others.
        skipped: which are neither.
    """
    from scipy.stats import rankdata

    out = np.zeros_like(members) if skipped is None else skipped
    ranks = rankdata(np.where(out, -np.inf, scores), axis=1)
    m, gone = members.sum(axis=1), out.sum(axis=1)
    pairs = m * (members.shape[1] - m - gone)
    total = np.where(members, ranks, 0.0).sum(axis=1) - m * gone - m * (m + 1) / 2
    return np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan)


def auc_interval(members: Array, others: Array, *, seed: int = 0) -> tuple[float, float]:
    """Stratified percentile bootstrap of the AUC: members and others are drawn apart, 1000 times.

    The AUC of a draw is `sum_v m(v) (o(<v) + o(v) / 2) / (|m| |o|)`, from its counts of each value v.
    """
    values, place = np.unique(np.concatenate([members, others]), return_inverse=True)
    size, pairs = len(values), len(members) * len(others)
    width = max(size, len(members), len(others))
    rng_m, rng_o = np.random.default_rng(seed).spawn(2)
    draws_m, draws_o = resamples(rng_m, len(members), width), resamples(rng_o, len(others), width)
    areas = []
    for m, o in zip(draws_m, draws_o, strict=True):
        count_m = _counts(place[: len(members)][m], size)
        count_o = _counts(place[len(members) :][o], size)
        at_or_below = np.cumsum(count_o, axis=1) - count_o / 2
        areas.append((count_m * at_or_below).sum(axis=1) / pairs)
    return function_interval(np.concatenate(areas))


@dataclass(frozen=True)
class Ranking:
    """Scores of members and of others.

    Args:
        strata: (members, others), compared inside a stratum only, such as a fold of a fit.
        shuffled: AUCs of shuffled labels, where the scores were fitted to labels and no formula gives their spread.
    """

    strata: Sequence[tuple[Array, Array]]
    shuffled: Array | None = None

    @property
    def members(self) -> int:
        """Members in all strata."""
        return sum(len(m) for m, _ in self.strata)

    @property
    def others(self) -> int:
        """Others in all strata."""
        return sum(len(o) for _, o in self.strata)

    @property
    def area(self) -> float:
        """The AUC; over strata, its mean by their pairs."""
        return float(sum(w * part.mean() for w, (part, _) in zip(self._weights, self.components, strict=True)))

    @property
    def pooled(self) -> tuple[Array, Array]:
        """Scores `[members]` and `[others]` of all strata on one scale, for a threshold that serves all of them.

        Scores of several strata, such as folds of a fit, have none: they enter standardised inside their stratum, by
        mean and spread of members and others together, so that labels shuffled inside strata change no score.
        """
        strata = self.strata if len(self.strata) == 1 else [_standardised(m, o) for m, o in self.strata]
        members, others = (np.concatenate(side) for side in zip(*strata, strict=True))
        return members, others

    @cached_property
    def components(self) -> list[tuple[Array, Array]]:
        """DeLong's V `[m]` and W `[n]` of each stratum."""
        return [(_beaten(m, o), 1 - _beaten(o, m)) for m, o in self.strata]

    @property
    def variance(self) -> float:
        """DeLong's variance of the AUC, times `inflation`."""
        parts = (_spread(v) + _spread(w) for v, w in self.components)
        return self.inflation * sum(weight**2 * part for weight, part in zip(self._weights, parts, strict=True))

    @cached_property
    def inflation(self) -> float:
        """How much fitting widens the variance of the AUC: that of shuffled labels over Mann-Whitney's, at least 1."""
        if self.shuffled is None or not self._mann_whitney > 0:
            return 1.0
        return max(1.0, float(self.shuffled.var()) / self._mann_whitney**2)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the AUC."""
        area, variance = self.area, self.variance
        if variance <= 1e-18 or not 0 < area < 1:
            return _newcombe(area, self.members, self.others)
        half = Z * math.sqrt(variance) / (area * (1 - area))
        return _share(_logit(area) - half), _share(_logit(area) + half)

    @property
    def null(self) -> Null:
        """What the AUC of members and others of one distribution is."""
        if self.shuffled is not None:
            return null_of(self.shuffled, "labels shuffled inside folds")
        half = Z * self._mann_whitney
        return Null(0.5, max(0.5 - half, 0.0), min(0.5 + half, 1.0), "Mann-Whitney: two samples of one distribution")

    @property
    def p(self) -> float:
        """Two-sided p-value of "members and others are one distribution"."""
        distance = abs(self.area - 0.5)
        if self.shuffled is not None:
            return float(1 + (np.abs(self.shuffled - 0.5) >= distance - 1e-12).sum()) / (1 + len(self.shuffled))
        error = self._mann_whitney
        return math.erfc(distance / error / math.sqrt(2)) if error > 0 else 1.0

    @cached_property
    def _mann_whitney(self) -> float:
        """Standard deviation of the AUC under the null, with ties."""
        total = 0.0
        for weight, (m, o) in zip(self._weights, self.strata, strict=True):
            n = len(m) + len(o)
            counts = np.unique(np.concatenate([m, o]), return_counts=True)[1].astype(float)
            ties = float((counts**3 - counts).sum()) / (n * (n - 1))
            total += weight**2 * (n + 1 - ties) / (12 * len(m) * len(o))
        return math.sqrt(total)

    @property
    def _weights(self) -> list[float]:
        pairs = [len(m) * len(o) for m, o in self.strata]
        return [pair / sum(pairs) for pair in pairs]


def paired_error(one: Ranking, other: Ranking) -> float:
    """Standard error of the difference of two AUCs over the same examples in the same order, by DeLong's covariance."""
    total = 0.0
    pairs = zip(one.components, other.components, one._weights, strict=True)
    for (v, w), (v2, w2), weight in pairs:
        total += weight**2 * (_spread(v - v2) + _spread(w - w2))
    return math.sqrt(total * max(one.inflation, other.inflation))


def _standardised(members: Array, others: Array) -> tuple[Array, Array]:
    both = np.concatenate([members, others])
    centre, spread = both.mean(), float(both.std()) or 1.0
    return (members - centre) / spread, (others - centre) / spread


def _beaten(scores: Array, others: Array) -> Array:
    return _midranks(scores, np.sort(others)) / len(others)


def _midranks(scores: Array, ordered: Array) -> Array:
    """How many of the ordered ones are below each score, ties half, `[n]`."""
    return np.asarray((np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / 2)


def _counts(drawn: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    rows = len(drawn)
    offset = np.arange(rows)[:, None] * size
    return np.bincount((drawn + offset).ravel(), minlength=rows * size).reshape(rows, size)


def _spread(x: Array) -> float:
    return float(x.var(ddof=1)) / len(x) if len(x) > 1 else 0.0


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _share(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _newcombe(area: float, m: int, n: int) -> tuple[float, float]:
    """The areas A with `(area - A)^2 <= z^2 A (1 - A) (1 + N ((1 - A) / (2 - A) + A / (1 + A))) / (m n)`."""
    middle = (m + n) / 2 - 1

    def outside(a: float) -> bool:
        variance = a * (1 - a) * (1 + middle * ((1 - a) / (2 - a) + a / (1 + a))) / (m * n)
        return (area - a) ** 2 > Z * Z * variance

    return _edge(outside, 0.0, area), _edge(outside, 1.0, area)


def _edge(outside: Callable[[float], bool], out: float, inside: float) -> float:
    """Bisection between a point outside and one inside; `out` itself where nothing is outside."""
    if out == inside or not outside(out):
        return out
    for _ in range(60):
        middle = (out + inside) / 2
        out, inside = (middle, inside) if outside(middle) else (out, middle)
    return inside
