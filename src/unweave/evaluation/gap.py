"""Distance to the model that was retrained without the forget set: the reference of every claim.

The scale has two ends and a table should show both: the original model's distance, and that of a second
model, retrained from another seed: `gaps(second, retrained)`. Differences smaller than the latter are noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean

from unweave.evaluation.evidence import Metric
from unweave.evaluation.sheet import MARGINS
from unweave.evaluation.value import Measurement, Score, UndefinedScore, measured

GAP_METRICS = tuple(MARGINS)
"""What a classifier is compared by."""
RTE = Metric(
    "RTE",
    "seconds of unlearning / seconds of retraining",
    *("ratio", "lower", (0, math.inf), "run", "the time of a retraining", "nobody timed one"),
    *("Fan et al. (SalUn), ICLR 2024", "1: retraining itself"),
)


def gaps(
    scores: Mapping[str, Score], retrained: Mapping[str, Score], metrics: Sequence[str] = GAP_METRICS
) -> dict[str, Score]:
    """`100 (m(model) - m(retrained))` of each metric, and `average_gap`, their mean size.

    All in points, signed: to miss more of the forget set than a retrained model does is a leak and a damage,
    too. A pair of models has no interval: examples say nothing about other runs.

    Fan et al. (SalUn), ICLR 2024.

    Args:
        scores: of the model in question.
        retrained: of the reference.
        metrics: names, one at least.
    """
    table = {}
    for name in metrics:
        of = f"100 x ({name} - {name} of the retrained model)"
        table[name] = measured(name, of, "points", partial(_difference, scores[name], retrained[name]))
    of = f"mean size of the gaps to the retrained model in {', '.join(metrics)}"
    return {**table, "average_gap": measured("average_gap", of, "points", partial(_mean_size, table))}


def efficiency(seconds: float, retrain_seconds: float) -> Score:
    """Run-time efficiency, `RTE = seconds of unlearning / seconds of retraining`: below 1 it paid."""
    return RTE.score(partial(_ratio, seconds, retrain_seconds))


def _difference(score: Score, reference: Score) -> Measurement:
    return Measurement(100 * (_value(score) - _value(reference)), min(score.n, reference.n))


def _mean_size(table: Mapping[str, Score]) -> Measurement:
    gaps = table.values()
    return Measurement(fmean(abs(_value(gap)) for gap in gaps), min(gap.n for gap in gaps))


def _ratio(seconds: float, retrain_seconds: float) -> Measurement:
    if not retrain_seconds > 0:
        raise UndefinedScore(f"It needs the seconds that retraining took; found {retrain_seconds}.")
    return Measurement(seconds / retrain_seconds, 1)


def _value(score: Score) -> float:
    if score.value is None:
        raise UndefinedScore(f"{score.name} is undefined: {score.reason}")
    return score.value
