r"""Two samples of runs: their difference with Welch's interval, and the test that it is small enough to not matter.

    d = mean(u) - mean(r),   se^2 = s_u^2 / k + s_r^2 / m,   nu = se^4 / ((s_u^2/k)^2 / (k-1) + (s_r^2/m)^2 / (m-1))

Welch, Biometrika 34 (1947). "No significant difference" is no evidence of none: equivalence is a test of its own, TOST
(Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987), and its margin is set before the runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from unweave.evaluation.evidence import whole
from unweave.evaluation.value import Array

FEWEST = 2  # a spread needs two


@dataclass(frozen=True)
class Difference:
    """`mean(u) - mean(r)`, its standard error and Welch's degrees of freedom."""

    value: float
    error: float
    freedom: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """`d -+ t(nu) se`; a point where neither side has any spread."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.error
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """Two-sided p-value of `d = 0`."""
        return min(1.0, 2 * self.above(abs(self.value)))

    def above(self, distance: float) -> float:
        """`P(T_nu >= distance / se)`."""
        from scipy.special import stdtr

        if self.error > 0:
            return float(stdtr(self.freedom, -distance / self.error))
        return 0.0 if distance > 0 else 0.5 if distance == 0 else 1.0

    def equivalence(self, margin: float) -> float:
        """TOST: p-value of "`|d|` is at least the margin", the larger of the two one-sided ones.

        At most 0.05 exactly where the 90 % interval lies inside the margin.
        """
        return self.above(margin - abs(self.value))


def difference(values: ArrayLike, others: ArrayLike, what: str = "unlearned") -> Difference:
    """The difference of two samples of runs, one value each.

    Raises:
        UndefinedScore: fewer than two runs on a side, or a value that is not finite.
    """
    u = whole(values, f"{what} runs", axes=1, at_least=FEWEST)
    r = whole(others, "retrained runs", axes=1, at_least=FEWEST)
    parts = [_variance(x) / len(x) for x in (u, r)]
    variance = sum(parts)
    freedom = float(len(u) + len(r) - 2)
    if variance > 0:
        share = [part / variance for part in parts]
        freedom = 1 / (share[0] ** 2 / (len(u) - 1) + share[1] ** 2 / (len(r) - 1))
    return Difference(_mean(u) - _mean(r), math.sqrt(variance), freedom)


def prediction(reference: Array, runs: int, confidence: float = 0.95) -> float:
    """Half the width of the null band: how far the mean of `runs` further runs strays from this reference's mean.

    `t(m-1) s_r sqrt(1/k + 1/m)`, Student's prediction interval: exact if runs are normal.
    """
    from scipy.special import stdtrit

    m = len(reference)
    return float(stdtrit(m - 1, (1 + confidence) / 2)) * math.sqrt(_variance(reference) * (1 / runs + 1 / m))


def _mean(x: Array) -> float:
    """Exact for equal values."""
    return float(x[0] + (x - x[0]).mean())


def _variance(x: Array) -> float:
    """With what rounding leaves of equal values taken off."""
    return 0.0 if x.min() == x.max() else float(x.var(ddof=1))
