r"""The retrain gap over runs: k unlearned models against m retrained ones, each from a training of its own.

    gap_q = mean_i q(unlearned_i) - mean_j q(retrained_j),   average gap = mean_q |gap_q|,
    ToW = prod_q (1 - |gap_q|)  over the accuracies on forget, retain and test set.

Signed: to miss more of the forget set than a retrained model does is a leak, too. The unit of replication is the run;
two models differ "significantly" in a third of all cases if the interval is over examples only. The null row says what
k further *retrained* models would score against these m: below it, no method can be told from retraining.
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

from unweave.audit.runs.welch import FEWEST, Difference, difference, prediction
from unweave.errors import ConfigurationError
from unweave.evaluation.evidence import Evidence, Found, Metric, Null, Right, null_of, whole
from unweave.evaluation.gap import GAP_METRICS
from unweave.evaluation.sheet import MARGINS
from unweave.evaluation.value import Array, Score, UndefinedScore

Sheet = Mapping[str, Score]
TOW_METRICS = ("UA", "RA", "TA")
DRAWS = 4000
SALUN = "Fan et al. (SalUn), ICLR 2024"


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

    evidence: Evidence
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
    average: Evidence
    tow: Evidence


def retrain_gap(
    unlearned: Sequence[Sheet],
    retrained: Sequence[Sheet],
    *,
    margins: Margins | None = None,
    metrics: Sequence[str] = GAP_METRICS,
    seed: int = 0,
) -> GapTable:
    """Signed gaps with Welch intervals, TOST and the null row; average gap and ToW with theirs.

    Args:
        unlearned: one sheet of `score` per unlearned model, each from another original model.
        retrained: one per retrained model, each from another seed.
        margins: settled before the runs; None for the default, 1 point of UA and TA, half a point of RA, 2 of the AUC.
        metrics: that enter, scores in shares; their gaps are in points.
        seed: of the draws for the null of the two summaries.

    Raises:
        ConfigurationError: a metric that a sheet does not have.
    """
    lacking = sorted({q for sheet in (*unlearned, *retrained) for q in {*metrics, *TOW_METRICS} if q not in sheet})
    if lacking:
        raise ConfigurationError(f"Every sheet must have the scores {', '.join(lacking)}; at least one has not.")
    margins = margins or Margins()
    sizes = {"unlearned runs": len(unlearned), "retrained runs": len(retrained)}
    gaps = {q: _gap(q, unlearned, retrained, margins.points.get(q), sizes) for q in metrics}
    make = partial(_summary, unlearned, retrained, seed=seed)
    return GapTable(
        gaps,
        _average_metric(metrics).of(sizes, partial(make, metrics, lambda sizes_of: sizes_of.mean(-1), rises=True)),
        TOW.of(sizes, partial(make, TOW_METRICS, lambda sizes_of: (1 - sizes_of / 100).prod(-1), rises=False)),
    )


def _gap(name: str, unlearned: Sequence[Sheet], retrained: Sequence[Sheet], margin: float | None, sizes: Any) -> Gap:
    kept: list[Difference] = []

    def measure() -> Found:
        u, r = _points(unlearned, name, "unlearned"), _points(retrained, name, "retrained")
        kept.append(difference(u, r))
        half = prediction(r, len(u))
        null = Null(0.0, -half, half, "Student's prediction interval of as many further retrained runs")
        return Found(kept[0].value, *kept[0].interval(), "Welch's t over runs", null, kept[0].p)

    evidence = _gap_metric(name).of(sizes, measure)
    tost = kept[0].equivalence(margin) if kept and margin is not None else None
    return Gap(evidence, margin, tost)


def _summary(
    unlearned: Sequence[Sheet], retrained: Sequence[Sheet], metrics: Sequence[str], form: Any, *, rises: bool, seed: int
) -> Found:
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
    return Found(value, float(form(ends[0])), float(form(ends[1])), "Welch's t over runs, Bonferroni", null)


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
    return _metric(f"gap_{name}", of, "points", "as null", (-100, 100), SALUN)


def _average_metric(metrics: Sequence[str]) -> Metric:
    of = f"mean size of the gaps in {', '.join(metrics)}"
    return _metric("average_gap", of, "points", "lower", (0, 100), SALUN)


def _metric(name: str, definition: str, unit: str, right: Right, limits: tuple[float, float], source: str) -> Metric:
    undefined = "fewer than two runs on a side, or a run whose score is undefined"
    needs = "two unlearned and two retrained models, three for a claim; every one from a training of its own"
    return Metric(name, definition, unit, right, limits, "run", needs, undefined, source)


TOW = _metric(
    "ToW",
    f"product of 1 - |gap| over {', '.join(TOW_METRICS)}",
    *("ratio", "higher", (0, 1), "Zhao et al., arXiv:2406.01257"),
)
TOST = Metric(
    "tost",
    "p-value of 'the gap is at least the margin', the larger of the two one-sided t-tests; equivalent at most 0.05",
    *("p-value", "lower", (0, 1), "run", "a gap, and a margin that was settled before the runs"),
    *("the gap is undefined, or has no margin", "Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987)"),
    "below 0.05 as soon as there are runs enough for the margin; a method at the margin is in at most 5 % of cases",
)
GAPS = (*map(_gap_metric, GAP_METRICS), _average_metric(GAP_METRICS), TOW, TOST)
"""What is said of gaps over runs."""
