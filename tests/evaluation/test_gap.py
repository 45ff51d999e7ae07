from __future__ import annotations

from dataclasses import replace

import pytest

from tests.evaluation.conftest import Make
from unweave.evaluation import GAP_METRICS, Score, efficiency, gaps, score_outputs
from unweave.evaluation.scores import SHEET


def sheet(**values: float) -> dict[str, Score]:
    return {name: Score(SHEET[name], {"examples": 100}, value) for name, value in values.items()}


RETRAINED = sheet(UA=0.10, RA=0.99, TA=0.90, MIA_AUC=0.50)


def test_gaps_are_signed_points_and_the_average_is_of_their_sizes() -> None:
    table = gaps(sheet(UA=0.04, RA=1.00, TA=0.88, MIA_AUC=0.53), RETRAINED)
    assert {name: gap.value for name, gap in table.items()} == pytest.approx(
        {"UA": -6.0, "RA": 1.0, "TA": -2.0, "MIA_AUC": 3.0, "average_gap": 3.0}
    )
    assert {gap.unit for gap in table.values()} == {"points"}
    assert list(table) == [*GAP_METRICS, "average_gap"]


def test_a_model_has_no_gap_to_itself_and_gaps_turn_round_when_swapped() -> None:
    other = sheet(UA=0.04, RA=1.00, TA=0.88, MIA_AUC=0.53)
    assert all(gap.value == 0 for gap in gaps(RETRAINED, RETRAINED).values())
    there, back = gaps(other, RETRAINED), gaps(RETRAINED, other)
    for name in GAP_METRICS:
        assert there[name].value == -(back[name].value or 0)
    assert there["average_gap"].value == back["average_gap"].value


def test_an_undefined_metric_leaves_the_average_undefined() -> None:
    broken = {**RETRAINED, "MIA_AUC": replace(RETRAINED["MIA_AUC"], value=None, reason="too few")}
    for table in (gaps(broken, RETRAINED), gaps(RETRAINED, broken)):
        assert table["UA"].value == 0
        assert table["MIA_AUC"].value is None and "too few" in table["MIA_AUC"].reason
        assert table["average_gap"].value is None and "MIA_AUC is undefined" in table["average_gap"].reason


def test_the_null_row_is_small_and_the_originals_is_not(make: Make) -> None:
    """A second retrained model is nearer to the first than the model that memorised the forget set."""
    original, first, second = (
        score_outputs(make(400, s, skill=skill), make(2000, s + 1, skill=4.0), make(1000, s + 2, skill=1.0))
        for s, skill in ((0, 4.0), (10, 1.0), (20, 1.0))
    )
    null, distance = gaps(second, first)["average_gap"].value, gaps(original, first)["average_gap"].value
    assert null is not None and distance is not None and null < 3 < 10 < distance


def test_efficiency_is_a_ratio_of_times() -> None:
    assert efficiency(3.0, 12.0).value == 0.25
    assert efficiency(3.0, 0.0).value is None
    assert "retraining took" in efficiency(3.0, float("nan")).reason
