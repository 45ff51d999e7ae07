"""Distance to the model that was retrained without the forget set: the reference of every claim.

The scale has two ends and a table should show both: the original model's distance, and that of a second
model, retrained from another seed: `gaps(second, retrained)`. Differences smaller than the latter are noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from unweave.evaluation.metric import Measurement, Metric, Right, Score, UndefinedScore
from unweave.evaluation.scores import MARGINS

GAP_METRICS = tuple(MARGINS)
"""What a classifier is compared by."""
_SALUN = "Fan et al. (SalUn), ICLR 2024"
RTE = Metric(
    "RTE",
    "seconds of unlearning / seconds of retraining",
    *("ratio", "lower", (0, math.inf), "run", "the time of a retraining", "nobody timed one"),
    *(_SALUN, "1: retraining itself"),
    plain="time, as a share of retraining",
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
    table: dict[str, Score] = {}
    for name in metrics:
        of = f"100 x ({name} - {name} of the retrained model)"
        pair = scores[name], retrained[name]
        table[name] = _points(name, of, "as null", pair, lambda value, reference: 100 * (value - reference))
    of = f"mean size of the gaps to the retrained model in {', '.join(metrics)}"
    mean = _points("average_gap", of, "lower", tuple(table.values()), lambda *found: fmean(map(abs, found)))
    return {**table, "average_gap": mean}


def efficiency(seconds: float, retrain_seconds: float) -> Score:
    """Run-time efficiency, `RTE = seconds of unlearning / seconds of retraining`: below 1 it paid."""

    def measure() -> Measurement:
        if not retrain_seconds > 0:
            raise UndefinedScore(f"It needs the seconds that retraining took; found {retrain_seconds}.")
        return Measurement(seconds / retrain_seconds)

    return RTE.of({"runs": 1}, measure)


def _points(name: str, definition: str, right: Right, of: Sequence[Score], form: Callable[..., float]) -> Score:
    """What is formed of the values of other scores; undefined where one of them is."""
    limits = (0.0 if right == "lower" else -100.0, 100.0)
    about = ("a retrained model", "a score is undefined", _SALUN, "0, but for what a second one is away")
    metric = Metric(name, definition, "points", right, limits, "run", *about)

    def measure() -> Measurement:
        for score in of:
            if score.value is None:
                raise UndefinedScore(f"{score.name} is undefined: {score.reason}")
        return Measurement(form(*(score.value for score in of)))

    return metric.of({"examples": min(score.n for score in of)}, measure)
