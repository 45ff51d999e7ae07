from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from unweave.audit.runs import Margins, retrain_gap
from unweave.errors import ConfigurationError
from unweave.evaluation import Score
from unweave.evaluation.scores import SHEET

NAMES = ("UA", "RA", "TA", "MIA_AUC")
SPREAD = (0.006, 0.001, 0.003, 0.01)


def sheet(values: dict[str, float]) -> dict[str, Score]:
    return {q: Score(SHEET[q], {"examples": 100}, v) for q, v in values.items()}


def pool(seed: int, n: int, shift: float = 0.0, spread: tuple[float, ...] = SPREAD) -> list[dict[str, Score]]:
    rng = np.random.default_rng(seed)
    return [sheet({q: 0.5 + shift + s * rng.normal() for q, s in zip(NAMES, spread, strict=True)}) for _ in range(n)]


def test_by_hand() -> None:
    u = [sheet({"UA": a, "RA": 1.0, "TA": 0.9, "MIA_AUC": 0.5}) for a in (0.10, 0.12)]
    r = [sheet({"UA": a, "RA": 1.0, "TA": 0.92, "MIA_AUC": 0.5}) for a in (0.05, 0.07)]
    table = retrain_gap(u, r)
    assert [table.gaps[q].evidence.value for q in NAMES] == pytest.approx([5, 0, -2, 0])
    assert table.average.value == pytest.approx(7 / 4)
    assert table.tow.value == pytest.approx(0.95 * 1.0 * 0.98)
    assert table.gaps["UA"].evidence.sizes == {"unlearned runs": 2, "retrained runs": 2}
    assert table.gaps["MIA_AUC"].margin == 2.0 and table.gaps["MIA_AUC"].verdict == "equivalent"
    bare = retrain_gap(u, r, margins=Margins({"UA": 1.0})).gaps["MIA_AUC"]
    assert bare.margin is None and bare.tost is None


def test_an_exact_method_is_in_the_null_rows_and_rarely_different() -> None:
    """Retrained against retrained, 200 times: 5 % of the gaps and of the summaries fall outside, ToW on one side."""
    different = outside = average = tow = 0
    for seed in range(200):
        runs = pool(seed, 9)
        table = retrain_gap(runs[:4], runs[4:], seed=seed)
        for gap in table.gaps.values():
            null, value = gap.evidence.null, gap.evidence.value
            assert null is not None and value is not None
            different += gap.verdict == "different"
            outside += not null.low <= value <= null.high
        for evidence in (table.average, table.tow):
            assert evidence.null and evidence.value is not None
        average += table.average.value > table.average.null.high  # type: ignore[operator, union-attr]
        tow += table.tow.value < table.tow.null.low  # type: ignore[operator, union-attr]
    assert different / 800 <= 0.06
    assert 0.03 <= outside / 800 <= 0.075
    assert average / 200 <= 0.06 and tow / 200 <= 0.06


def test_the_average_gaps_null_is_known() -> None:
    """Spreads of .6, .1, .3 and 1.0 points, 3 runs a side: an exact method's average gap is 0.32 points."""
    found = [retrain_gap(runs[:3], runs[3:], seed=i).average for i in range(60) for runs in [pool(i, 6)]]
    assert np.mean([e.value for e in found if e.value is not None]) == pytest.approx(0.32, abs=0.04)


def test_the_intervals_of_the_summaries_hold_their_truth() -> None:
    inside = 0
    for seed in range(150):
        table = retrain_gap(pool(seed, 4, shift=0.02), pool(1000 + seed, 5))
        average, tow = table.average, table.tow
        assert average.low is not None and average.high is not None and tow.low is not None and tow.high is not None
        inside += average.low <= 2.0 <= average.high and tow.low <= 0.98**3 <= tow.high
    assert inside / 150 >= 0.95


def test_equivalent_different_and_undecided() -> None:
    tight = (0.0005,) * 4
    same = retrain_gap(pool(0, 5, spread=tight), pool(1, 5, spread=tight)).gaps["UA"]
    off = retrain_gap(pool(0, 5, 0.05, tight), pool(1, 5, spread=tight)).gaps["UA"]
    wide = retrain_gap(pool(0, 2, spread=(0.02,) * 4), pool(1, 2, spread=(0.02,) * 4)).gaps["UA"]
    assert (same.verdict, off.verdict, wide.verdict) == ("equivalent", "different", "undecided")


def test_swapping_the_sides_turns_the_sign() -> None:
    a, b = pool(3, 4), pool(4, 6, 0.01)
    one, other = retrain_gap(a, b).gaps, retrain_gap(b, a).gaps
    for q in NAMES:
        assert one[q].evidence.value == pytest.approx(-other[q].evidence.value)  # type: ignore[operator]
        assert one[q].evidence.low == pytest.approx(-other[q].evidence.high)  # type: ignore[operator]


def test_a_run_without_a_value_is_never_left_out() -> None:
    runs = pool(0, 6)
    runs[1]["UA"] = replace(runs[1]["UA"], value=None, reason="2 of 100 forget outputs are not finite.")
    table = retrain_gap(runs[:3], runs[3:])
    ua = table.gaps["UA"]
    assert ua.evidence.value is None and "1 of 3 unlearned runs: 2 of 100" in ua.evidence.reason
    assert ua.verdict == "undefined" and ua.tost is None
    assert table.average.value is None and table.tow.value is None
    assert table.gaps["RA"].evidence.value is not None
    json.dumps(ua.as_dict(), allow_nan=False)


def test_one_run_a_side_is_no_evidence() -> None:
    table = retrain_gap(pool(0, 1), pool(1, 3))
    assert "at least 2 unlearned runs" in table.gaps["UA"].evidence.reason


def test_margins_are_settled_before() -> None:
    one, other = Margins({"UA": 1.0, "RA": 0.5}), Margins({"RA": 0.5, "UA": 1.0})
    assert one.digest == other.digest != Margins({"UA": 1.0, "RA": 0.6}).digest
    for points, primary in (({"UA": 0.0}, "UA"), ({"UA": np.nan}, "UA"), ({"UA": 1.0}, "TA")):
        with pytest.raises(ConfigurationError):
            Margins(points, primary)


def test_a_score_that_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match="must have the scores MIA_AUC"):
        retrain_gap([{q: s for q, s in x.items() if q != "MIA_AUC"} for x in pool(0, 3)], pool(1, 3))
