r"""The forgetting score of the NeurIPS-2023 unlearning challenge (Triantafillou et al., arXiv:2406.09073).

For each forget example and decision rule, fpr and fnr are shares of the models that the rule puts on the wrong side:

    eps = max(log(1 - delta - fpr) - log fnr, log(1 - delta - fnr) - log fpr),    eps_i its maximum over the rules,
    H_i = 2^-floor(eps_i / 0.5) while that bucket ends below ceil(log(N - 1)), else 0,      F = mean_i H_i.

Rules: one threshold, above it the population with the larger median; or an interval, inside it the one with the
smaller range. A rule with exactly one of fpr, fnr at 0 is dropped; both 0 is infinite, cut to 50; a range below 1 % of
the other is 50, too. Every rule that the sample can tell from another is tried; the released code has a grid.

The best of thousands of rules on the sample that it is judged by: eps_i is no bound (`epsilon.py` is one), and an exact
method scores far below 1. Compare at equal N only, beside the null level.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unweave.audit.attacks.pools import exchange_p, null_level, pools
from unweave.evaluation.metric import Array, Measurement, Metric, Score

DELTA, CAP, BUCKET = 1e-5, 50.0, 0.5
_PER_UNIT, _BUFFER = 100, 2.0
_AT_A_TIME = 1 << 21
FORGETTING = Metric(
    "forgetting_score",
    "mean over forget examples of 2^-floor(2 eps_i), eps_i of the best decision rule on margins over models",
    "ratio",
    "as null",
    (0, 1),
    "run",
    "512 unlearned and 512 retrained models, as published; the null level says what fewer mean",
    "fewer than four models on a side, or a margin that is not finite",
    "Triantafillou et al., arXiv:2406.09073",
    plain="how alike to retraining single examples are, 1 at best",
)


def forgetting_score(unlearned: ArrayLike, retrained: ArrayLike, *, permutations: int = 40, seed: int = 0) -> Score:
    """F from margins `[N, n]` and `[M, n]`, with its null level and the p-value of "both pools are one distribution".

    Args:
        unlearned: a row per unlearned model. In the challenge all start from one original model, and the score speaks
            of that one only.
        retrained: a row per retrained model.
        permutations: exchanges of whole models, small scores against the method.
        seed: of the exchanges.
    """
    sizes = {"unlearned runs": len(np.asarray(unlearned)), "retrained runs": len(np.asarray(retrained))}

    def score(u: Array, r: Array) -> float:
        return float(points(epsilons(u, r), min(len(u), len(r))).mean())

    def measure() -> Measurement:
        u, r = pools(unlearned, retrained, at_least=4)
        p = exchange_p(u, r, lambda a, b: -score(a, b), seed, permutations)
        return Measurement(score(u, r), null=null_level(u, r, score, seed, draws=permutations), p=p)

    return FORGETTING.of(sizes, measure)


def final_score(forgetting: float, retain: float, retain_retrained: float, test: float, test_retrained: float) -> float:
    """The challenge's ranking: `F (RA / RA of the retrained model) (TA / TA of the retrained model)`."""
    return forgetting * (retain / retain_retrained) * (test / test_retrained)


def points(eps: Array, models: int) -> Array:
    """H of each example, `[n]`."""
    bucket = np.floor(np.asarray(eps) / BUCKET)
    most = math.ceil(math.log(models - 1))
    return np.where((bucket + 1) * BUCKET <= most, 2.0**-bucket, 0.0)


def epsilons(
    unlearned: ArrayLike, retrained: ArrayLike, *, delta: float = DELTA, compat: Literal["deepmind"] | None = None
) -> Array:
    """eps of each example, `[n]`, from margins `[N, n]` and `[M, n]`; 0 where no rule is left.

    Args:
        unlearned: a row per unlearned model.
        retrained: a row per retrained model.
        delta: 1e-5 as in the challenge; widespread copies have 0.01.
        compat: "deepmind" for the released code's rules: 100 thresholds per unit, intervals within 2 units of the peaky
            population's range. (That code itself stops at an assertion on an array; this is what it means to do.)

    Raises:
        UndefinedScore: see `FORGETTING.undefined_when`.
    """
    u, r = pools(unlearned, retrained, at_least=1)
    if compat:
        return np.array([_deepmind(u[:, i], r[:, i], delta) for i in range(u.shape[1])])
    step = max(1, _AT_A_TIME // (len(u) + len(r) + 1) ** 2)
    parts = [_exact(u[:, i : i + step], r[:, i : i + step], delta) for i in range(0, u.shape[1], step)]
    return np.concatenate(parts)


def _exact(u: Array, r: Array, delta: float) -> Array:
    """All thresholds and all intervals between two margins; eps is looked up by the two counts."""
    both = np.concatenate([u, r])
    order = both.argsort(axis=0, kind="stable")
    ordered = np.take_along_axis(both, order, axis=0)
    is_u = order < len(u)
    zero = np.zeros((1, u.shape[1]), dtype=np.int64)
    below_u = np.concatenate([zero, is_u.cumsum(axis=0)])  # models below each cut, [cuts, n]
    below_r = np.concatenate([zero, (~is_u).cumsum(axis=0)])
    edge = np.ones(zero.shape, dtype=bool)
    valid = np.concatenate([edge, ordered[1:] > ordered[:-1], edge])  # equal margins are never parted
    n_u, n_r = len(u), len(r)
    shares = np.arange(n_u + 1)[:, None] / n_u, np.arange(n_r + 1)[None, :] / n_r
    wrongs = np.broadcast_arrays(*shares)
    table = _epsilon(wrongs[0], wrongs[1], delta)  # of (wrong among the unlearned, wrong among the retrained)
    low_u = np.median(r, axis=0) > np.median(u, axis=0)
    wrong_u = np.where(low_u, n_u - below_u, below_u), np.where(low_u, below_r, n_r - below_r)
    best = (table[wrong_u] * valid).max(axis=0)
    range_u, range_r = np.ptp(u, axis=0), np.ptp(r, axis=0)
    left, right = np.triu_indices(len(valid), 1)
    in_u, in_r = below_u[right] - below_u[left], below_r[right] - below_r[left]
    r_inside = range_r <= range_u
    wrong = np.where(r_inside, in_u, n_u - in_u), np.where(r_inside, n_r - in_r, in_r)
    best = np.maximum(best, (table[wrong] * (valid[left] & valid[right])).max(axis=0))
    return np.where(_degenerate(range_u, range_r) & (ordered[-1] > ordered[0]), CAP, best)


def _epsilon(fpr: Array, fnr: Array, delta: float) -> Array:
    """eps of each rule, symmetric in the two rates and at most 50; 0 for a rule that is dropped."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one = np.log(np.maximum(1 - delta - fpr, 0)) - np.log(fnr)
        other = np.log(np.maximum(1 - delta - fnr, 0)) - np.log(fpr)
    eps = np.where(fpr * fnr > 0, np.fmax(one, other), np.where(fpr + fnr == 0, np.inf, 0.0))
    return np.asarray(np.clip(np.nan_to_num(eps, nan=0.0, posinf=CAP), 0.0, CAP))


def _degenerate(one: ArrayLike, other: ArrayLike) -> NDArray[np.bool_]:
    return np.asarray(np.minimum(one, other) < 0.01 * np.maximum(one, other))


def _deepmind(u: Array, r: Array, delta: float) -> float:
    positive, negative = np.sort(r), np.sort(u)
    if np.median(r) <= np.median(u):
        positive, negative = negative, positive
    range_p, range_n = positive[-1] - positive[0], negative[-1] - negative[0]
    if _degenerate(range_p, range_n):
        return CAP
    low, high = min(u.min(), r.min()), max(u.max(), r.max())
    cuts = np.linspace(low, high, math.ceil((high - low) * _PER_UNIT))
    rates = [(_above(negative, cuts), 1 - _above(positive, cuts))]
    peaky, wide = (negative, positive) if range_p >= range_n else (positive, negative)
    width = min(range_p, range_n)
    first, last = peaky[0] + width - _BUFFER, peaky[-1] + _BUFFER
    right = np.linspace(first, last, math.ceil((last - first) * _PER_UNIT))
    shift = np.linspace(-_BUFFER, _BUFFER, math.ceil(2 * _BUFFER * _PER_UNIT))
    left = (right[:, None] - width + shift).ravel()
    ends = left, np.repeat(right, len(shift))
    rates.append((_between(wide, *ends), 1 - _between(peaky, *ends)))
    return max(float(_epsilon(fpr, fnr, delta).max(initial=0.0)) for fpr, fnr in rates)


def _above(ordered: Array, cuts: Array) -> Array:
    return np.asarray((len(ordered) - np.searchsorted(ordered, cuts, "left")) / len(ordered))


def _between(ordered: Array, left: Array, right: Array) -> Array:
    inside = np.searchsorted(ordered, right, "right") - np.searchsorted(ordered, left, "left")
    return np.asarray(np.maximum(inside, 0) / len(ordered))
