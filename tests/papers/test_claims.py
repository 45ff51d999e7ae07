"""What seeds say of a claim, and what is read of steps."""

from __future__ import annotations

import math
from typing import Any

import pytest

from unweave.methods import METHODS
from unweave.papers import answers
from unweave.papers.claims import over_seeds
from unweave.papers.experiment import Claim
from unweave.papers.measures import ASCENDING, MEASURES, Ran, measured, parsed, worded


def rows(**values: list[float | None]) -> list[dict[str, Any]]:
    """A row for each method and seed."""
    return [
        {"where": {"method": name, "rho": str(k % 2)}, "seed": seed, "values": {"UA": value}}
        for k, (name, of) in enumerate(values.items())
        for seed, value in enumerate(of)
    ]


def answer(given: list[dict[str, Any]], **claim: Any) -> Any:
    return answers([Claim(text="c", measure="UA", **claim)], given)[0]


def test_an_interval_is_students() -> None:
    """Mean 2, sd 1, n 3: t = 4.3027, half 4.3027 / sqrt 3 = 2.4842."""
    found = over_seeds([1.0, 2.0, 3.0])
    assert (found.value, found.n) == (2.0, 3)
    assert (found.low, found.high) == (pytest.approx(2 - 2.48414, abs=1e-5), pytest.approx(2 + 2.48414))
    assert over_seeds([1.0]) == type(found)(1.0, None, None, 1)
    for undefined in (None, math.nan, math.inf):
        assert over_seeds([1.0, undefined]).value is None


def test_yes_no_undecided() -> None:
    apart = rows(a=[1.0, 1.1, 0.9], b=[3.0, 3.1, 2.9])
    near = rows(a=[1.0, 3.0, 2.0], b=[2.0, 2.0, 2.2])
    one, other = {"method": "a"}, {"method": "b"}
    assert answer(apart, of=one, than=other, at_most=0).answer == "yes"
    assert answer(apart, of=one, than=other, at_least=0).answer == "no"
    assert answer(near, of=one, than=other, at_most=0).answer == "undecided"
    assert answer(apart, of=one, at_least=0.5).answer == "yes"
    assert answer(apart, of=one, than=other, at_most=0).value == pytest.approx(-2)
    part = answers([Claim(text="c", measure="UA", of=one, at_least=0.5)], apart, complete=False)[0]
    assert (part.answer, part.why) == ("undecided", "not all runs are there")
    for given in (rows(a=[1.0, None, 1.0]), rows(a=[5.0])):
        found = answer(given, of=one, at_least=0)
        assert found.answer == "undecided" and found.why


def test_along_an_axis_it_is_the_correlation() -> None:
    given = [{"where": {"x": str(x)}, "seed": s, "values": {"UA": 2.0 * x + s}} for x in (0, 1, 2) for s in (0, 1, 2)]
    assert answer(given, along="x", at_least=0.99).answer == "yes"
    assert answer([row for row in given if row["where"]["x"] != "2"], along="x", at_least=0.9).answer == "undecided"


class Made(Ran):
    def __init__(self, method: dict[str, Any], steps: list[dict[str, Any]]) -> None:
        self.recipe, self.steps = {"method": method}, steps
        self.summary, self.models, self.gaps = {"steps": len(steps), "seconds": 3.0}, {}, {}


def step(losses: tuple[float, float], weights: Any = None, gramian: Any = None) -> dict[str, Any]:
    return {"losses": losses, "weights": weights, "gramian": gramian, "kappa": None, "cosine": None}


def test_the_quota_of_a_step_by_hand() -> None:
    """g_u = (1, 0), g_r = (0, 2), R = |g_r| = 2: feasible 2, ratio .5, Q / lr = 1; w_u = 1 gains 1, w_u = .5 half."""
    gramian = [[[1.0, 0.0], [0.0, 4.0]]]
    method = {"name": "hamu_q", "ratio": 0.5, "radius": None}
    ran = Made(method, [step((0, 0), [[0.5, 1.0]], gramian), step((0, 0), [[1.0, 1.0]], gramian)])
    assert measured(ran, "quota_missed") == 0.5
    assert measured(Made(method, ran.steps[1:]), "quota_missed") == 0.0
    assert measured(Made({**method, "radius": 4.0}, ran.steps), "quota_missed") == 0.75
    assert measured(Made({**method, "name": "hamu_u"}, ran.steps), "quota_missed") == 0.0, "gain 4, Q / lr = .5 * 1 * 2"
    assert measured(Made({"name": "eupmu"}, ran.steps), "quota_missed") is None


def test_a_trajectory_is_read_between_its_steps() -> None:
    """The forget objective is minus the forget loss: rises 0, 1, 3; the retain loss falls by 0, 2, 1."""
    steps = [step((-1.0, 5.0)), step((-2.0, 3.0)), step((-4.0, 4.0))]
    ran = Made({"name": "graddiff"}, steps)
    assert ran.path() == ([0.0, 1.0, 3.0], [0.0, 2.0, 1.0])
    assert measured(ran, "retain_fall_at(0.5)") == 1.0 and measured(ran, "retain_fall_at(2.0)") == 1.5
    assert measured(ran, "retain_fall_at(9.0)") is None
    assert measured(ran, "largest_retain_rise") == 1.0 and measured(ran, "seconds_a_step") == 1.0
    assert Made({"name": "salun"}, steps).path() is None


def test_measures_are_in_words() -> None:
    assert parsed("UA") == ("UA", 0.0) and parsed("retain_fall_at(1.5)") == ("retain_fall_at", 1.5)
    assert "1.5 nats" in worded("retain_fall_at(1.5)") and worded("UA") == "UA"
    assert all(words for words, _ in MEASURES.values()) and set(METHODS) > ASCENDING
    for wrong in ("UA(1)", "retain_fall_at", "a b"):
        with pytest.raises(ValueError, match="expected a measure"):
            parsed(wrong)
