"""Met, missed, undecided: what a clause says of values that were seen, and what follows for the whole."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unweave
from tests._toys import memorised, same, unseen, weights
from tests.contract._runs import Run, wrong
from unweave.contract import Contract, Forget, Keep, Outcome, Reading, Verdict, ended, headline, overall, state_of
from unweave.contract import keeper as keepers
from unweave.contract.judge import Goal, Limit, goals, limits
from unweave.contract.metrics import SCORE
from unweave.contract.sets import Sets
from unweave.errors import ConfigurationError

SOME = TensorDataset(torch.zeros(1, 1))


def limit(clause: Keep, own: Any, confidence: float = 0.95) -> Limit:
    """The clause for an original with these values on guard and final set."""
    contract = Contract([clause], (), confidence=confidence)
    key = clause.metric if isinstance(clause.metric, str) else f"{clause.metric.__name__} 0"
    seen = {place: {"loss" if key == "perplexity" else key: np.asarray(own, float)} for place in ("guard", "final")}
    return limits(contract, [clause], seen, Sets(SOME))[0][0]


def read(made: Limit, before: Any, after: Any, place: str = "final") -> Reading:
    found = made.read(
        {place: {made.key: np.asarray(after, float)}}, {place: {made.key: np.asarray(before, float)}}, place
    )
    assert found is not None
    return found


def test_a_keep_clause_is_met_missed_or_not_decided() -> None:
    """Of 400 examples: the limit is above the upper bound, below the lower one, or between."""
    made, count = limit(Keep("accuracy", absolute=0.03), np.ones(400)), 0
    for failures, state in (
        (0, "met"),
        (5, "met"),
        (9, "undecided"),
        (14, "undecided"),
        (24, "missed"),
        (400, "missed"),
    ):
        found = read(made, np.ones(400), np.arange(400) >= failures)
        assert (
            found.state == state and found.met == (state == "met") and found.measured == pytest.approx(failures / 400)
        )
        assert found.low is not None and found.bound is not None and found.low < found.measured <= found.bound
        count += 1
    made = limit(Keep("loss", absolute=0.1), np.zeros(400))
    for lost, state in ((0.0, "met"), (0.03, "met"), (0.09, "undecided"), (0.11, "undecided"), (0.3, "missed")):
        assert read(made, np.zeros(400), np.full(400, lost)).state == state
        count += 1
    assert read(made, np.zeros(400), np.full(400, math.inf)).state == "missed"
    assert count == 11


def test_a_metric_of_ones_own_is_judged_in_its_own_direction() -> None:
    def score(model: Any, batch: Any) -> Any: ...

    own, count = np.full(300, 0.5), 0
    for better, lost in (("higher", -0.2), ("lower", 0.2)):
        made = limit(Keep(score, absolute=0.1, better=better), own)  # type: ignore[arg-type]
        assert read(made, own, own + lost).state == "missed" and read(made, own, own - lost).state == "met"
        assert read(made, own, own + lost).measured == pytest.approx(0.2)
        count += 1
    assert count == 2


def test_what_one_example_counts() -> None:
    """Stated with the clause; by the metric where nothing is said, and always so much that the limit can be missed."""

    def score(model: Any, batch: Any) -> Any: ...

    share, wide, binary = np.linspace(0.1, 0.9, 900), np.linspace(-40, 60, 9000), np.arange(900) % 2.0
    cases = [
        (Keep("loss", absolute=0.1), share, 3.0),
        (Keep("loss", absolute=4.0), share, 4.8),
        (Keep("loss", absolute=0.1, clip=0.7), share, 0.7),
        (Keep("perplexity", relative=0.1), share, 1.0),
        (Keep("perplexity", relative=1.5), share, 1.2 * math.log(2.5)),
        (Keep("accuracy", absolute=0.1), binary, None),
        (Keep(score, absolute=0.1, better="lower"), binary, None),
        (Keep(score, absolute=0.1, better="lower"), share, 1.0),
        (Keep(score, absolute=5.0, better="lower"), wide, 100.0),
        (Keep(score, absolute=5.0, better="lower", clip=20.0), wide, 20.0),
        (Keep(score, absolute=5.0, better="lower"), np.full(900, 7.0), 6.0),
    ]
    for clause, own, clip in cases:
        made = limit(clause, own)
        assert made.clip == (clip if clip is None else pytest.approx(clip))
        assert (clip is None) == ("each example counted up to" not in made.text)


def test_too_few_examples_for_a_limit_are_counted() -> None:
    with pytest.raises(
        ConfigurationError, match=r"limit of 0.02 nats .* 200 guard examples that count up to 3 nats"
    ) as got:
        limit(Keep("loss", absolute=0.02), np.linspace(0, 1, 200))
    assert "The smallest that can is 0.0745 nats; yours needs" in str(got.value) and "clip=0.73" in str(got.value)
    limit(Keep("loss", absolute=0.02, clip=0.73), np.linspace(0, 1, 200))
    with pytest.raises(ConfigurationError, match=r"must be able to count more than the limit, 0\.1; found 0\.05"):
        limit(Keep("loss", absolute=0.1, clip=0.05), np.linspace(0, 1, 200))


def test_rare_and_large_losses_are_not_claimed_away() -> None:
    """One example in 250 loses 10 nats, 0.04 on average: on few examples most draws hold none, or one."""
    rng, claims, draws = np.random.default_rng(0), 0, 200
    with pytest.raises(ConfigurationError, match="cannot be decided"):
        limit(Keep("loss", absolute=0.035), np.linspace(0, 1, 100))
    own = np.zeros(500)
    made = limit(Keep("loss", absolute=0.035), own)
    for _ in range(draws):
        lost = [np.where(rng.random(500) < 0.004, 10.0, 0.0) for _ in range(2)]
        claims += all(read(made, own, x, place).met for x, place in zip(lost, ("guard", "final"), strict=True))
    assert claims <= 0.05 * draws


def attacked(forget: int, holdout: int, shift: float = 0.0, margin: float | None = None) -> Reading:
    """ "unseen", for members whose scores lie evenly among the others', or above them."""
    score = (np.arange(forget) + 0.5) / forget * (1 - shift) + shift + 1e-3
    other = (np.arange(holdout) + 0.5) / holdout
    (goal,) = goals(Contract(), [Forget("unseen", margin=margin)], {})
    return goal.read({"forget": {SCORE: score, "loss": -score}, "holdout": {SCORE: other, "loss": -other}}, "")


def test_unseen_is_not_shown_on_a_few_records() -> None:
    """Three records at an AUC near a half: so would three that were never forgotten."""
    count = 0
    assert attacked(1, 500).state == "undecided"
    for forget, holdout, state in ((3, 500, "undecided"), (15, 500, "undecided"), (200, 8, "undecided")):
        found = attacked(forget, holdout)
        assert found.state == state and abs(found.measured - 0.5) < 0.05 and "to chance" in found.note
        count += 1
    assert attacked(60, 200).state == "met" and attacked(200, 500).state == "met"
    assert attacked(60, 200, margin=0.01).state == "undecided", "a sharper margin needs more"
    assert attacked(3, 500, shift=0.5).state == "missed" and attacked(200, 500, shift=0.3).state == "missed"
    assert count == 3


def test_as_a_retrained_model_needs_examples_too() -> None:
    count = 0
    for n, state in ((3, "undecided"), (30, "undecided"), (200, "met")):
        seen = {"forget": {"accuracy": np.ones(n)}, "retrained": {"accuracy": np.ones(n)}}
        (goal,) = goals(Contract(), [Forget("retrained")], seen)
        assert goal.read(seen, "").state == state
        assert goal.read({"forget": {"accuracy": np.zeros(n)}}, "").state == "missed"
        count += 1
    assert count == 3


def test_a_level_is_a_fact_about_the_records_themselves() -> None:
    for clause, key in ((Forget("accuracy", at_most=0.4), "accuracy"), (Forget("loss", at_least=0.5), "loss")):
        low, high = (Goal(clause, clause.level, 0.05).read({"forget": {key: np.full(3, x)}}, "") for x in (0.0, 1.0))
        assert {low.state, high.state} == {"met", "missed"} and low.met == (key == "accuracy")


def test_an_undecided_clause_steers_by_what_is_measured() -> None:
    """The run need not go on for ever, and the goal counts as reached."""
    goal = Goal(Forget("unseen"), 0.55, 0.05)
    start = attacked(3, 500, shift=0.9)
    assert goal.progress(attacked(3, 500), start) == 1.0 > goal.progress(start, start)


ROW = {"side": "keep", "clause": "c", "met": True}


def test_the_whole_is_its_worst_clause() -> None:
    met, old, missed, open_ = ROW, {"met": False}, ROW | {"state": "missed"}, ROW | {"state": "undecided"}
    assert [state_of(row) for row in (met, old, missed, open_)] == ["met", "missed", "missed", "undecided"]
    assert (overall([met, open_]), overall([open_, missed]), overall([met]), overall([])) == (
        "undecided",
        "missed",
        "met",
        "met",
    )
    assert headline([met, met]) == "contract met" and headline([]) == "no contract"
    assert headline([met, open_, missed]) == "contract missed: 1 of 3 clauses"
    assert headline([met, open_, open_]) == "contract not shown: 2 of 3 clauses undecided"
    assert ended("contract met", [met]) == "contract met" and ended("steps used up", [missed]) == "steps used up"
    assert "met" not in ended("contract met", [met, open_]) and "met" not in ended("contract met", [old])


def test_a_verdict_is_the_worse_of_its_readings() -> None:
    def verdict(*states: Any) -> Verdict:
        guard, final = (None if s is None else Reading(0.1, 0.2, s, 50) for s in states)
        return Verdict("keep", "accuracy", None, 0.3, guard, final)

    count = 0
    for states, state in {
        ("met", "met"): "met",
        ("met", None): "met",
        ("met", "undecided"): "undecided",
        ("undecided", "missed"): "missed",
        ("missed", "met"): "missed",
        (None, None): "undecided",
    }.items():
        one = verdict(*states)
        assert one.state == state and one.met == (state == "met") == one.as_dict()["met"]
        assert one.as_dict()["state"] == state == state_of(one.as_dict())
        told = Outcome("contract met", [one], 1, 1, 0.0, 0, (), ())
        assert told.state == state and told.headline in str(told) and ("MISSED" in str(told)) == (state == "missed")
        assert one.told is None or one.told.state == state
        count += 1
    assert count == 6


def test_a_reading_is_read_back_from_this_version_and_older_ones() -> None:
    found = Reading(0.1, 0.2, "undecided", 50, "note", -0.1)
    assert Reading.of(found.as_dict()) == found
    old = {"measured": 0.1, "bound": 0.2, "met": False, "n": 50, "note": ""}
    assert Reading.of(old) == Reading(0.1, 0.2, "missed", 50)


def test_guard_met_and_final_not_is_no_contract_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of the end follow the final set, in the outcome, its text and the call's result."""
    whole, count = Limit.read, 0
    for state in ("undecided", "missed"):

        def broken(self: Limit, now: Any, original: Any, place: str, state: Any = state) -> Reading | None:
            found = whole(self, now, original, place)
            return found if found is None or place == "guard" else Reading(0.2, 0.3, state, found.n)

        monkeypatch.setattr(keepers.Limit, "read", broken)
        run = Run(Contract([Keep("accuracy", absolute=0.14)], [Forget("accuracy", at_most=0.1)], every=4))
        result = run.go(100)
        assert result.contract is not None and result.contract.state == state and not result.contract.met
        assert result.reason == result.contract.reason == "limits reached on the examples that steered the run"
        assert "contract met" not in str(result.contract) and "contract met" not in repr(result)
        count += 1
    assert count == 2


def test_three_records_are_carried_out_and_not_shown() -> None:
    """The original is within the limits too: that says nothing, so the run is made, and says that nothing is shown."""
    model, _, retain = memorised()
    few = TensorDataset(*(tensor[:3] for tensor in retain.tensors))
    rest = TensorDataset(*(tensor[3:] for tensor in retain.tensors))
    contract = Contract([Keep("accuracy", absolute=0.15)], [Forget("unseen")], every=2)
    before = nn.functional.cross_entropy(model(few.tensors[0]), few.tensors[1]).item()
    result = unweave.unlearn(
        model, forget=few, retain=rest, holdout=unseen(), contract=contract, method="gradient_ascent", steps=20
    )
    assert result.contract is not None and result.contract.state != "met" and "contract met" not in str(result.contract)
    assert before >= 0 and not same(weights(result.model), weights(model))
    assert wrong(unseen()).tensors[1].shape == unseen().tensors[1].shape
