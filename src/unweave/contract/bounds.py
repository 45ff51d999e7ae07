r"""How sure is a difference: one-sided upper bounds on a paired mean, the level after corrections, and set sizes.

Every clause compares two models on the same examples: `d_i` is how much worse the new one is on example i. The
variation between examples, which both models share, cancels, so a few hundred decide what two independent samples of
many thousand would not.

Levels. States are tested in the order of the run, and a path ends at its first failure: tests in a fixed sequence
need no correction (Maurer, Hothorn and Lehmacher 1995; Westfall and Krishen, J. Stat. Plan. Inference 99, 2001). Each
rollback opens a new path, and a clause may have many groups: the level is divided by their numbers (Bonferroni; Dunn,
JASA 56, 1961). That all clauses hold together needs none (intersection-union test; Berger, Technometrics 24, 1982).
A path that begins after a rollback depends on when the failure came: the final claim is therefore made on a set of its
own, looked at once.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from unweave.evaluation.value import Array

SIZE = 1000  # guard examples for a metric whose spread nobody knows
PARTS = 4  # the guard set takes at most this part of the retain set, and so does the final set


def level(confidence: float, paths: int = 1, groups: int = 1) -> float:
    """Error probability of one test: `(1 - confidence) / (paths * groups)`."""
    return (1 - confidence) / (paths * groups)


def upper(worse: Array, alpha: float, *, binary: bool) -> float:
    """Upper bound of a mean from its examples `d_i`: Tango's score bound for a binary metric, else Student's.

    Not finite examples, or too few, give infinity.
    """
    if not len(worse) or not np.isfinite(worse).all():
        return math.inf
    if binary:
        return tango(int((worse > 0).sum()), int((worse < 0).sum()), len(worse), alpha)
    return student(worse, alpha)


def tango(b: int, c: int, n: int, alpha: float) -> float:
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


def student(worse: Array, alpha: float) -> float:
    """`mean + t(1 - alpha; n - 1) s / sqrt(n)`; infinity from a single example."""
    from scipy.special import stdtrit

    n = len(worse)
    if n < 2:
        return math.inf
    return float(worse.mean() + stdtrit(n - 1, 1 - alpha) * worse.std(ddof=1) / math.sqrt(n))


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


def smallest(n: int, alpha: float) -> float:
    """The bound that an unchanged model has on n examples of a binary metric: no smaller limit can be decided."""
    return quantile(alpha) ** 2 / (n + quantile(alpha) ** 2) if n else 1.0


def needed(limit: float, alpha: float) -> int:
    """Examples on which an unchanged model just keeps a limit of a binary metric."""
    return math.ceil(quantile(alpha) ** 2 * (1 - limit) / limit)


def size(limit: float | None, alpha: float) -> int:
    """Guard examples: twice what an unchanged model needs, `2 z^2 / limit`; `SIZE` where the spread is unknown (None).

    With these, half of the limit is left for real changes.
    """
    return SIZE if limit is None else math.ceil(2 * quantile(alpha) ** 2 / limit)
