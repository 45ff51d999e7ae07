from __future__ import annotations

import json
import math

import numpy as np
import pytest

from unweave.audit.every_metric import EVERY
from unweave.evaluation import UndefinedScore
from unweave.evaluation.metric import Measurement, Metric, Null, Score, whole
from unweave.modalities import MODALITIES

METRIC = Metric("m", "d", "share", "as null", (-math.inf, math.inf), "run", "n", "u")


def test_it_prints_with_its_interval_null_and_sizes() -> None:
    found = METRIC.of({"runs": 3}, lambda: Measurement(0.5, 0.25, 0.75, "t", Null(0.1, 0.0, 0.2, "h"), 0.04))
    assert str(found) == "m 0.5 [0.25, 0.75], an exact method 0.1 [0, 0.2], 3 runs"
    fields = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (
        fields["metric"]["limits"] == [None, None] and fields["null"]["high"] == 0.2 and fields["sizes"] == {"runs": 3}
    )


def test_what_cannot_be_measured_says_why_and_keeps_its_sizes() -> None:
    def fail() -> Measurement:
        raise UndefinedScore("too few")

    found = METRIC.of({"runs": 1}, fail)
    assert found.value is None and str(found) == "m: undefined. too few" and found.sizes == {"runs": 1}


@pytest.mark.parametrize(
    "numbers", [{"value": math.nan}, {"value": 1.0, "low": math.inf}, {"value": 1.0, "p": math.nan}]
)
def test_nothing_that_is_not_finite_becomes_evidence(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="finite or None"):
        Score(METRIC, {}, **numbers)  # type: ignore[arg-type]


def test_a_value_or_a_reason() -> None:
    for value, reason in ((None, ""), (1.0, "but")):
        with pytest.raises(ValueError, match="either a value or a reason"):
            Score(METRIC, {}, value, reason=reason)


def test_arrays_are_taken_whole() -> None:
    for values, axes, says in (
        ([1.0, math.nan], 1, "1 of 2 runs are not finite"),
        ([[1.0]], 1, "need 1 axes"),
        ([1.0], 1, "at least 2 runs"),
        (np.zeros((2, 0)), 2, "at least 2 runs"),
    ):
        with pytest.raises(UndefinedScore, match=says):
            whole(values, "runs", axes=axes, at_least=2)


def test_every_metric_says_all_that_it_has_to() -> None:
    every = [metric for place, metrics in EVERY.items() if place not in MODALITIES for metric in metrics.values()]
    assert len({metric.name for metric in every}) == len(every)
    for metric in every:
        assert all((metric.definition, metric.unit, metric.needs, metric.undefined_when, metric.source))
        assert metric.right in ("higher", "lower", "as null") and metric.replicate in ("run", "example", "record")
        assert metric.limits[0] < metric.limits[1]
