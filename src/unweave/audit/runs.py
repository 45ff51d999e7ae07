r"""Over training runs, the unit that a claim is about: gaps to retraining, equivalence, null rows, the recovered share.

k unlearned models against m retrained ones, each from a training of its own:

    gap_q = mean_i q(unlearned_i) - mean_j q(retrained_j),   average gap = mean_q |gap_q|,
    ToW = prod_q (1 - |gap_q|)  over the accuracies on forget, retain and test set.

Signed: to miss more of the forget set than a retrained model does is a leak, too. The unit of replication is the run;
two models differ "significantly" in a third of all cases if the interval is over examples only. The null row says what
k further *retrained* models would score against these m: below it, no method can be told from retraining.

A difference of two samples of runs, here u and r, has Welch's interval (Biometrika 34, 1947):

    d = mean(u) - mean(r),   se^2 = s_u^2 / k + s_r^2 / m,   nu = se^4 / ((s_u^2/k)^2 / (k-1) + (s_r^2/m)^2 / (m-1))

"No significant difference" is no evidence of none: equivalence is a test of its own, TOST (Schuirmann, J.
Pharmacokinet. Biopharm. 15, 1987), and its margin is set before the runs. How much of what was forgotten an attack
brings back is a ratio of such differences, against the model that never saw it:

    rho = (mean u - mean c) / (mean o - mean c)

u, o and c are the scores of the unlearned, the original and the never-saw (control) models after the *same* attack:
relearning, quantisation, a prefix. 0 is the control, 1 the original. What the attack itself teaches is in all three.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from unweave.errors import ConfigurationError
from unweave.evaluation.gap import GAP_METRICS
from unweave.evaluation.metric import Array, Measurement, Metric, Null, Right, Score, UndefinedScore, null_of, whole
from unweave.evaluation.scores import MARGINS, SHEET

FEWEST = 2  # a spread needs two
Sheet = Mapping[str, Score]
TOW_METRICS = ("UA", "RA", "TA")
DRAWS = 4000
SALUN = "Fan et al. (SalUn), ICLR 2024"


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


@dataclass(frozen=True)
class Margins:
    """What was settled before the runs: the primary metric, and how large a gap does not matter, in points.

    `digest` goes into the record before the first run; a margin that is chosen afterwards is not one.

    Raises:
        ConfigurationError: a margin that is not above 0, or a primary metric without one.
    """

    points: Mapping[str, float] = field(default_factory=lambda: dict(MARGINS))
    primary: str = GAP_METRICS[0]

    def __post_init__(self) -> None:
        if any(not (0 < margin < math.inf) for margin in self.points.values()):
            raise ConfigurationError(f"A margin is a number of points above 0; found {dict(self.points)}.")
        if self.primary not in self.points:
            raise ConfigurationError(f"The primary metric {self.primary!r} needs a margin; found {dict(self.points)}.")

    @property
    def digest(self) -> str:
        """SHA-256 of the primary metric and the margins."""
        text = json.dumps({"primary": self.primary, "points": dict(self.points)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Gap:
    """One metric's gap: the evidence (its p is of "no gap"), the margin, and TOST's p-value of "beyond the margin"."""

    evidence: Score
    margin: float | None
    tost: float | None

    @property
    def verdict(self) -> Literal["equivalent", "different", "undecided", "undefined"]:
        """`equivalent`: within the margin at 5 %. `different`: not that, and the 95 % interval leaves out 0."""
        if self.evidence.value is None:
            return "undefined"
        if self.tost is not None and self.tost <= 0.05:
            return "equivalent"
        return "different" if self.evidence.p is not None and self.evidence.p <= 0.05 else "undecided"

    def as_dict(self) -> dict[str, Any]:
        """The fields and the verdict, ready for JSON."""
        return {**self.evidence.as_dict(), "margin": self.margin, "tost": self.tost, "verdict": self.verdict}


@dataclass(frozen=True)
class GapTable:
    """The gaps by metric, and the two numbers that the literature makes of them."""

    gaps: Mapping[str, Gap]
    average: Score
    tow: Score


def retrain_gap(
    unlearned: Sequence[Sheet],
    retrained: Sequence[Sheet],
    *,
    margins: Margins | None = None,
    metrics: Sequence[str] = GAP_METRICS,
    tow: Sequence[str] = TOW_METRICS,
    seed: int = 0,
) -> GapTable:
    """Signed gaps with Welch intervals, TOST and the null row; average gap and ToW with theirs.

    Args:
        unlearned: one sheet of `score` per unlearned model, each from another original model.
        retrained: one per retrained model, each from another seed.
        margins: settled before the runs; None for the default, 1 point of UA and TA, half a point of RA, 2 of the AUC.
        metrics: that enter, scores in shares; their gaps are in points.
        tow: those of which the product is formed.
        seed: of the draws for the null of the two summaries.

    Raises:
        ConfigurationError: a metric that a sheet does not have.
    """
    lacking = sorted({q for sheet in (*unlearned, *retrained) for q in {*metrics, *tow} if q not in sheet})
    if lacking:
        raise ConfigurationError(f"Every sheet must have the scores {', '.join(lacking)}; at least one has not.")
    margins = margins or Margins()
    sizes = {"unlearned runs": len(unlearned), "retrained runs": len(retrained)}
    gaps = {q: _gap(q, unlearned, retrained, margins.points.get(q), sizes) for q in metrics}
    make = partial(_summary, unlearned, retrained, seed=seed)
    return GapTable(
        gaps,
        _average_metric(metrics).of(sizes, partial(make, metrics, lambda sizes_of: sizes_of.mean(-1), rises=True)),
        _tow_metric(tow).of(sizes, partial(make, tow, lambda sizes_of: (1 - sizes_of / 100).prod(-1), rises=False)),
    )


def _gap(name: str, unlearned: Sequence[Sheet], retrained: Sequence[Sheet], margin: float | None, sizes: Any) -> Gap:
    kept: list[Difference] = []

    def measure() -> Measurement:
        u, r = _points(unlearned, name, "unlearned"), _points(retrained, name, "retrained")
        kept.append(difference(u, r))
        half = prediction(r, len(u))
        null = Null(0.0, -half, half, "Student's prediction interval of as many further retrained runs")
        return Measurement(kept[0].value, *kept[0].interval(), "Welch's t over runs", null, kept[0].p)

    evidence = _gap_metric(name).of(sizes, measure)
    tost = kept[0].equivalence(margin) if kept and margin is not None else None
    return Gap(evidence, margin, tost)


def _summary(
    unlearned: Sequence[Sheet], retrained: Sequence[Sheet], metrics: Sequence[str], form: Any, *, rises: bool, seed: int
) -> Measurement:
    """A monotone function of the gaps' sizes, its range over Bonferroni's box of Welch intervals, and its null.

    The null draws gaps from the multivariate t of the retrained runs, `t(m-1) sqrt(1/k + 1/m)` in each metric.
    """
    u = np.stack([_points(unlearned, q, "unlearned") for q in metrics], axis=1)
    r = np.stack([_points(retrained, q, "retrained") for q in metrics], axis=1)
    found = [difference(u[:, i], r[:, i]) for i in range(len(metrics))]
    box = np.array([d.interval(1 - 0.05 / len(metrics)) for d in found])
    least = np.where(box[:, 0] * box[:, 1] <= 0, 0.0, np.abs(box).min(axis=1))
    most = np.minimum(np.abs(box).max(axis=1), 100.0)
    ends = (least, most) if rises else (most, least)
    rng, (k, m) = np.random.default_rng(seed), (len(u), len(r))
    normal = rng.normal(size=(DRAWS, m)) @ (r - r.mean(axis=0)) / math.sqrt(m - 1)
    scale = np.sqrt(rng.chisquare(m - 1, size=(DRAWS, 1)) / (m - 1))
    drawn = np.minimum(np.abs(normal / scale) * math.sqrt(1 / k + 1 / m), 100.0)
    null = null_of(form(drawn), "multivariate t of as many further retrained runs")
    value = float(form(np.abs([d.value for d in found])))
    return Measurement(value, float(form(ends[0])), float(form(ends[1])), "Welch's t over runs, Bonferroni", null)


def _points(sheets: Sequence[Sheet], name: str, what: str) -> Array:
    """The metric of every run; one that is undefined leaves the whole undefined, it is never left out.

    Raises:
        UndefinedScore: a run without a value, or fewer than two runs.
    """
    scores = [sheet[name] for sheet in sheets]
    if broken := [score for score in scores if score.value is None]:
        raise UndefinedScore(f"{name} is undefined in {len(broken)} of {len(scores)} {what} runs: {broken[0].reason}")
    values = [score.value for score in scores if score.value is not None]
    return 100 * whole(values, f"{what} runs", axes=1, at_least=FEWEST)


def _gap_metric(name: str) -> Metric:
    of = f"100 x (mean {name} of the unlearned models - mean {name} of the retrained ones)"
    plain = f"{SHEET[name].plain}, less that of retrained models" if name in SHEET else ""
    return _metric(f"gap_{name}", of, "points", "as null", (-100, 100), SALUN, plain)


def _average_metric(metrics: Sequence[str]) -> Metric:
    of = f"mean size of the gaps in {', '.join(metrics)}"
    return _metric("average_gap", of, "points", "lower", (0, 100), SALUN, "mean distance to retrained models")


def _metric(
    name: str, definition: str, unit: str, right: Right, limits: tuple[float, float], source: str, plain: str
) -> Metric:
    undefined = "fewer than two runs on a side, or a run whose score is undefined"
    needs = "two unlearned and two retrained models, three for a claim; every one from a training of its own"
    return Metric(name, definition, unit, right, limits, "run", needs, undefined, source, plain=plain)


def _tow_metric(metrics: Sequence[str]) -> Metric:
    of = f"product of 1 - |gap| over {', '.join(metrics)}"
    return _metric("ToW", of, "ratio", "higher", (0, 1), "Zhao et al., arXiv:2406.01257", "tug of war: 1 is retraining")


TOW = _tow_metric(TOW_METRICS)
TOST = Metric(
    "tost",
    "p-value of 'the gap is at least the margin', the larger of the two one-sided t-tests; equivalent at most 0.05",
    *("p-value", "lower", (0, 1), "run", "a gap, and a margin that was settled before the runs"),
    *("the gap is undefined, or has no margin", "Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987)"),
    "below 0.05 as soon as there are runs enough for the margin; a method at the margin is in at most 5 % of cases",
    plain="chance of a gap beyond the margin",
)
GAPS = (*map(_gap_metric, GAP_METRICS), _average_metric(GAP_METRICS), TOW, TOST)
"""What is said of gaps over runs."""


RECOVERED = Metric(
    "recovered_share",
    "(unlearned - control) / (original - control), means over runs of a score after the same attack",
    "share",
    "as null",
    (-math.inf, math.inf),
    "run",
    "two attacked models each: original, never-saw control, unlearned",
    "the 95 % interval of original - control holds 0: the attack cannot tell what there was to forget",
    "control: arXiv:2506.00688; interval: Fieller, J. R. Stat. Soc. B 16 (1954)",
    plain="what comes back, of what separates the original from a retrained model",
)


def recovered_share(original: ArrayLike, control: ArrayLike, unlearned: ArrayLike) -> Score:
    """The recovered share with Fieller's interval over runs, on Welch's degrees of freedom.

    The interval holds every rho that `mean u - rho mean o - (1 - rho) mean c = 0` does not reject at 5 %. Its null: a
    further control in the place of the unlearned model. Its p is Welch's, of "both score the same".

    Args:
        original: score of each attacked original model, `[k]`.
        control: of each attacked model of the same recipe that never saw the forget set.
        unlearned: of each attacked unlearned model.
    """
    sides = {"original": original, "control": control, "unlearned": unlearned}
    sizes = {f"{name} runs": np.size(values) for name, values in sides.items()}

    def measure() -> Measurement:
        o, c, u = (whole(x, f"{name} runs", axes=1, at_least=FEWEST) for name, x in sides.items())
        low, high = difference(o, c, "original").interval()
        if low <= 0 <= high:
            raise UndefinedScore(
                f"original - control is {o.mean() - c.mean():.3g} with 95 % interval [{low:.3g}, {high:.3g}], which "
                "holds 0: there is nothing to recover that this attack can see. Use a stronger attack or more runs."
            )
        base = float(o.mean() - c.mean())
        value = float(u.mean() - c.mean()) / base
        half = prediction(c, len(u)) / abs(base)
        null = Null(0.0, -half, half, "Student's prediction interval of as many further controls")
        p = difference(u, c).p
        return Measurement(value, *_fieller(o, c, u, value), "Fieller, Welch's degrees of freedom", null, p)

    return RECOVERED.of(sizes, measure)


def _fieller(o: Array, c: Array, u: Array, rho: float) -> tuple[float, float]:
    """The roots of `(a - rho b)^2 = t^2 (v_u + rho^2 v_o + (1 - rho)^2 v_c)`, a = u - c, b = o - c."""
    from scipy.special import stdtrit

    v_o, v_c, v_u = (float(x.var(ddof=1)) / len(x) for x in (o, c, u))
    parts = (v_u, rho**2 * v_o, (1 - rho) ** 2 * v_c)
    freedom = [len(u) - 1, len(o) - 1, len(c) - 1]
    whole_variance = sum(parts)
    nu = float(sum(freedom))
    if whole_variance > 0:
        nu = whole_variance**2 / sum(part**2 / f for part, f in zip(parts, freedom, strict=True))
    a, b, t2 = float(u.mean() - c.mean()), float(o.mean() - c.mean()), float(stdtrit(nu, 0.975)) ** 2
    square, half, rest = b * b - t2 * (v_o + v_c), a * b - t2 * v_c, a * a - t2 * (v_u + v_c)
    if square <= 0:
        raise UndefinedScore("The interval of the recovered share is unbounded: original and control are too close.")
    root = math.sqrt(max(half * half - square * rest, 0.0))
    return (half - root) / square, (half + root) / square
