r"""How sure is a difference: one-sided upper bounds on a paired mean, the level after corrections, and set sizes.

Every clause compares two models on the same examples: `d_i` is how much worse the new one is on example i. The
variation between examples, which both models share, cancels, so a few hundred decide what two independent samples of
many thousand would not.

Levels. States are tested in the order of the run, and a path ends at its first failure: tests in a fixed sequence
need no correction (Maurer, Hothorn and Lehmacher 1995; Westfall and Krishen, J. Stat. Plan. Inference 99, 2001). Each
failure that a run goes on after, from there or from an earlier state, opens a new path, and a clause may have many
groups: the level is divided by their numbers (Bonferroni; Dunn, JASA 56, 1961). That all clauses hold together needs
none (intersection-union test; Berger, Technometrics 24, 1982).
A path that begins after a rollback depends on when the failure came: the final claim is therefore made on a set of its
own, looked at once.

What is bounded. Of a metric that is 0 or 1: the mean difference. Of any other no finite sample bounds the mean, as one
example in a thousand may lose without limit and none of them be drawn: the difference is clipped at `clip` either way,
its mean is bounded for every distribution, and so is the share of examples that lose more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from unweave.evaluation.metric import Array

SIZE = 1000  # guard examples for a limit that is a share of what nobody has read yet
PARTS = 4  # the guard set takes at most this part of the retain set, and so does the final set
BETS = np.array(
    [(2.0**-k, 2.0 ** -min(k + 1, 5)) for k in range(6)]
).T  # shares of the largest bet, what is put on them
MOST = 1 << 40
LOSING = 0.75  # of a limit on what is drawn, that a run may use up and still be shown to keep it
SAFE = 0.9  # Tango's bound is taken at this part of the level: it is not exact


def level(confidence: float, paths: int = 1, groups: int = 1) -> float:
    """Error probability of one test: `(1 - confidence) / (paths * groups)`."""
    return (1 - confidence) / (paths * groups)


def upper(worse: Array, alpha: float, clip: float | None = None) -> float:
    """Upper bound of a mean from its examples `d_i`; without a clip they are -1, 0 and 1.

    Examples that are not finite, or none, give infinity.
    """
    if not len(worse) or not np.isfinite(worse).all():
        return math.inf
    if clip is None:
        return tango(int((worse > 0).sum()), int((worse < 0).sum()), len(worse), alpha)
    return clipped(worse, alpha, clip)


def lower(worse: Array, alpha: float, clip: float | None = None) -> float:
    """Lower bound of the same mean; infinity if examples are not finite."""
    if not len(worse) or not np.isfinite(worse).all():
        return math.inf
    if clip is None:
        return -upper(-worse, alpha)
    return -betting(-np.clip(worse, -clip, clip), np.ones(len(worse)), alpha, clip)


def tango(b: int, c: int, n: int, alpha: float) -> float:
    """Upper bound of a difference of paired proportions, `(b - c) / n`: Tango's score bound, mended for rare failures.

    By itself it claims a broken limit in up to 2.5 times as many cases as promised, where failures are rare. It is
    raised by what it falls short of the exact bound (Clopper and Pearson, Biometrika 26, 1934) where the original alone
    fails nowhere. Counted out over all tables of n from 20 to 1,000, for limits up to a half: no more than promised for
    alpha of at least 0.0125; up to a quarter more of it at the smaller ones of many groups, down to 0.0005.

    Args:
        b: examples on which the new model alone fails.
        c: examples on which the original alone fails.
        n: examples in all, at least 1.
        alpha: one-sided error probability.
    """
    short = exact(b, n, alpha) - score(b, 0, n, SAFE * alpha)
    return min(score(b, c, n, SAFE * alpha) + max(short, 0.0), 1.0)


def exact(b: int, n: int, alpha: float) -> float:
    """Clopper and Pearson's upper bound of a proportion, b of n."""
    from scipy.special import betaincinv

    return 1.0 if b >= n else float(betaincinv(b + 1, n - b, 1 - alpha))


def clipped(worse: Array, alpha: float, clip: float) -> float:
    """Upper bound of the mean of differences, each clipped at `clip` either way, for every distribution.

    With probability 1 - alpha each, two things lie below it: the mean of the clipped differences, and `clip` times the
    share of examples beyond the clip, which alone would use such a limit up. A rise beyond the clip that was seen is
    not clipped: the bound is that of a range that holds it, and so no less.
    """
    beyond = int((worse > clip).sum())
    mean = betting(np.maximum(worse, -clip), np.ones(len(worse)), alpha, max(clip, float(worse.max())))
    return max(mean, clip * exact(beyond, len(worse), alpha))


def betting(values: Array, counts: Array, alpha: float, high: float) -> float:
    r"""Upper bound of the mean of a variable that is at most `high`, by betting against every larger mean.

    If the mean is m or more, the capital `sum_k w_k prod_i (1 + l_k (m - x_i))`, `0 <= l_k <= 1 / (high - m)`, is at
    most 1 on average, so that it reaches `1 / alpha` with probability alpha at most (Markov; Waudby-Smith and Ramdas,
    J. R. Stat. Soc. B 86, 2024). The bound is the least m that is refuted. Half of the capital is bet on the largest
    l, a quarter on half of it, and so on: the bets depend neither on the examples nor on their order.
    """
    low, top, goal = float(values @ counts / counts.sum()), high, -math.log(alpha)
    shares, weights = BETS
    while low < (middle := (low + top) / 2) < top and top - low > 1e-10 * high:  # the capital rises with m
        with np.errstate(divide="ignore"):
            logs = np.log1p(np.outer(shares, (middle - values) / (high - middle))) @ counts + np.log(weights)
        low, top = (middle, top) if np.logaddexp.reduce(logs) < goal else (low, middle)
    return top


def score(b: int, c: int, n: int, alpha: float) -> float:
    r"""Score bound of a difference of paired proportions, `(b - c) / n`.

    The largest `delta` that the score test does not reject:

        T(delta) = (b - c - n delta) / sqrt(n (2 q + delta (1 - delta))) = -z,
        q = (sqrt(B^2 - 4 A C) - B) / (2 A),  A = 2 n,  B = -b - c + (2 n - b + c) delta,  C = -c delta (1 - delta),

    `q` the probability of the other discordant cell under `delta`. No discordance leaves `z^2 / (n + z^2)`.
    Tango, Statistics in Medicine 17 (1998), 891-908.

    Args:
        b: examples on which the new model alone fails.
        c: examples on which the original alone fails.
        n: examples in all, at least 1.
        alpha: one-sided error probability.
    """
    z, low, high = quantile(alpha), (b - c) / n, 1.0

    def statistic(delta: float) -> float:
        first, second, third = 2 * n, -b - c + (2 * n - b + c) * delta, -c * delta * (1 - delta)
        q = (math.sqrt(max(second * second - 4 * first * third, 0.0)) - second) / (2 * first)
        spread = n * (2 * q + delta * (1 - delta))
        return (b - c - n * delta) / math.sqrt(spread) if spread > 0 else -math.inf

    while low < (middle := (low + high) / 2) < high:  # the statistic falls with delta
        low, high = (middle, high) if statistic(middle) > -z else (low, middle)
    return high


@lru_cache(maxsize=256)
def images(limit: float, alpha: float) -> int:
    """Images that show a limit kept which a model uses `LOSING` of: so many are recognised no longer, none anew."""
    return _least(lambda n: n > 1 / limit and tango(math.ceil(LOSING * limit * n), 0, n, alpha) <= limit)


def below(values: Array, others: Array) -> float:
    """p-value of "the mean of the values is not below that of the others", by Welch's test.

    Welch, Biometrika 34 (1947). Fewer than two on a side decide nothing: 1.
    """
    from scipy.special import stdtr

    if min(len(values), len(others)) < 2:
        return 1.0
    difference = float(values.mean() - others.mean())
    parts = [float(x.var(ddof=1)) / len(x) for x in (values, others)]
    if not (spread := sum(parts)) > 0:
        return 0.0 if difference < 0 else 1.0
    weights = (part**2 / (len(x) - 1) for part, x in zip(parts, (values, others), strict=True))
    return float(stdtr(spread**2 / sum(weights), difference / math.sqrt(spread)))


def attack(members: Array, others: Array) -> float:
    """`P(member's score > other's) + P(equal) / 2`: the AUC of a membership attack, from one example a side on."""
    ordered = np.sort(others)
    ranks = (np.searchsorted(ordered, members, "left") + np.searchsorted(ordered, members, "right")) / 2
    return float(ranks.mean() / len(ordered))


def quantile(alpha: float) -> float:
    """`z` with `P(N(0, 1) > z) = alpha`."""
    return NormalDist().inv_cdf(1 - alpha)


def chance(n: int, m: int, alpha: float) -> float:
    """How far from 0.5 chance alone takes an AUC over n and m examples alike: `z sqrt((n + m + 1) / 12 n m)`.

    Mann and Whitney, Ann. Math. Stat. 18 (1947); equal scores make it less.
    """
    return quantile(alpha) * math.sqrt((n + m + 1) / (12 * n * m)) if n and m else math.inf


def smallest(n: int, alpha: float, clip: float | None = None) -> float:
    """The bound that an unchanged model has on n examples: no smaller limit can be decided."""
    if not n:
        return math.inf if clip else 1.0
    if clip is None:
        return tango(0, 0, n, alpha)
    return max(betting(np.zeros(1), np.full(1, float(n)), alpha, clip), clip * exact(0, n, alpha))


@lru_cache(maxsize=256)
def needed(limit: float, alpha: float, clip: float | None = None) -> int:
    """Examples on which an unchanged model just keeps a limit."""
    return _least(lambda n: smallest(n, alpha, clip) <= limit)


def size(limit: float | None, alpha: float, clip: float | None = None) -> int:
    """Guard examples: what an unchanged model needs for half the limit; `SIZE` where that is unknown (None).

    With these, half of the limit is left for real changes.
    """
    return SIZE if limit is None else needed(limit / 2, alpha, clip)


def _least(enough: Callable[[int], bool]) -> int:
    """The least number that is enough, where every larger one is; `MOST` if none up to it is."""
    low, high = 0, 1
    while not enough(high) and high < MOST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
