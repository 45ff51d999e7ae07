"""What the clauses say of given values, without a model: signs, units, thresholds, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from unweave.contract import Contract, Forget, Keep
from unweave.contract.bounds import below, smallest
from unweave.contract.judge import Goal, Limit, accuracy, goals, limits
from unweave.contract.metrics import SCORE, key
from unweave.contract.reading import Reading
from unweave.contract.remaining import left, rise
from unweave.contract.sets import Sets, check, remarks
from unweave.errors import ConfigurationError
from unweave.loop import Record
from unweave.rules import Step
from unweave.tasks import Classification, Known

N = 400
GENERATOR = np.random.default_rng(0)
VALUES = GENERATOR.uniform(1.0, 2.0, N)  # of a function or a loss, bounded and never alike
RIGHT = (np.arange(N) % 10 > 0).astype(float)  # an accuracy of .9


def data(n: int = N, classes: int = 2) -> TensorDataset:
    return TensorDataset(torch.zeros(n, 1), torch.arange(n) % classes)


def own(model: Any, batch: Any) -> Any:
    raise NotImplementedError


SETS = Sets(data(), data(), data())


def limit(clause: Keep, values: Any, sets: Sets = SETS) -> Limit:
    """The one limit that a clause makes on these values of the original."""
    name = key(clause.metric, 0)
    found, _ = limits(Contract([clause], ()), [clause], {"guard": {name: values}, "final": {name: values}}, sets)
    return found[0]


def reading(measured: float, bound: float | None = None, met: bool = True) -> Reading:
    return Reading(measured, bound, "met" if met else "missed", N)


def read(made: Limit, before: Any, after: Any, place: str = "guard") -> Reading:
    """The clause on a state's values."""
    found = made.read({place: {made.key: after}}, {place: {made.key: before}}, place)
    assert found is not None
    return found


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_function_gets_worse_in_its_own_direction(better: Any) -> None:
    made = limit(Keep(own, absolute=0.5, better=better), VALUES)
    worse = -1.0 if better == "higher" else 1.0
    for size, met in ((0.2, True), (0.9, False), (-0.9, True)):
        found = read(made, VALUES, VALUES + worse * size)
        assert found.measured == pytest.approx(size) and found.met == met and found.n == N
        assert found.bound is not None and found.bound >= found.measured - 1e-12


def test_accuracy_loss_and_perplexity_get_worse_in_theirs() -> None:
    wrong = RIGHT.copy()
    wrong[5:45:10] = 0.0  # 4 of 400
    assert read(limit(Keep("accuracy", absolute=0.2), RIGHT), RIGHT, wrong).measured == pytest.approx(0.01)
    assert read(limit(Keep("loss", absolute=0.5), VALUES), VALUES, VALUES + 0.1).measured == pytest.approx(0.1)
    made = limit(Keep("perplexity", relative=0.5), VALUES)
    base = math.exp(VALUES.mean())
    assert (made.base, made.limit) == (pytest.approx(base), pytest.approx(0.5 * base))
    assert made.judged == pytest.approx(math.log(1.5))
    assert read(made, VALUES, VALUES + 0.1).measured == pytest.approx(base * math.expm1(0.1))
    points = limit(Keep("perplexity", absolute=2.0), VALUES)
    assert points.limit == pytest.approx(2.0) and points.judged == pytest.approx(math.log1p(2.0 / base))
    assert read(made, VALUES, VALUES + 1000).measured == math.inf


def test_a_relative_limit_is_a_share_of_the_original_whatever_its_sign() -> None:
    assert limit(Keep("loss", relative=0.5), VALUES).judged == pytest.approx(0.5 * VALUES.mean())
    assert limit(Keep(own, relative=0.5, better="lower"), -VALUES).judged == pytest.approx(0.5 * VALUES.mean())


def test_a_value_that_is_not_finite_breaks_the_clause() -> None:
    after = VALUES.copy()
    after[3] = math.nan
    found = read(limit(Keep("loss", absolute=0.5), VALUES), VALUES, after)
    assert (found.measured, found.bound, found.met) == (math.inf, math.inf, False)


def test_a_set_that_is_not_there_and_a_group_without_examples_are_not_read() -> None:
    clause = Keep("loss", absolute=0.5, by="class")
    sets = Sets(data(), data(N, 2), data(N, 1))  # the final set holds the first class alone
    seen = {"guard": {"loss": VALUES}, "final": {"loss": VALUES}}
    (first, second), _ = limits(Contract([clause], ()), [clause], seen, sets)
    assert (first.group, second.group) == ("0", "1") and first.read({}, seen, "guard") is None
    on_guard, on_final = first.read(seen, seen, "guard"), first.read(seen, seen, "final")
    assert on_guard is not None and on_guard.n == N // 2 and on_final is not None and on_final.n == N
    assert second.read(seen, seen, "final") is None
    assert second.base == pytest.approx(VALUES[1::2].mean())


def test_groups_share_the_level_and_the_final_set_is_looked_at_once() -> None:
    contract = Contract([Keep("loss", absolute=0.5)], (), confidence=0.9, shrinks=3)
    seen = {"guard": {"loss": VALUES}, "final": {"loss": VALUES}}
    ((alone,), _), clause = limits(contract, contract.keep, seen, SETS), Keep("loss", absolute=0.5, by="class")  # type: ignore[arg-type]
    assert alone.alphas == {"guard": pytest.approx(0.1 / 4), "final": pytest.approx(0.1)}
    (one, _), _ = limits(contract, [clause], seen, SETS)
    assert one.alphas == {"guard": pytest.approx(0.1 / 8), "final": pytest.approx(0.05)}


def test_the_share_of_the_budget_that_is_used() -> None:
    """From the bound of an unchanged model, 0, to the limit, 1."""
    for clause, values in ((Keep("accuracy", absolute=0.2), RIGHT), (Keep("loss", absolute=0.5), VALUES)):
        made = limit(clause, values)
        assert made.used(read(made, values, values)) == pytest.approx(0.0, abs=1e-9)
        at = reading(0.0, made.limit)
        assert made.used(at) == pytest.approx(1.0)
        least = read(made, values, values).bound
        assert least is not None
        half = reading(0.0, (made.limit + least) / 2)
        assert made.used(half) == pytest.approx(0.5, abs=1e-6)
        assert made.used(reading(-1.0, -1.0)) == 0.0
        assert made.used(reading(made.limit)) == pytest.approx(1.0), "without a bound, what was measured"


def goal(clause: Forget, **original: Any) -> Goal:
    return goals(Contract((), [clause]), [clause], original)[0]


HALF = (np.arange(100) % 2).astype(float)


@pytest.mark.parametrize(
    ("clause", "value", "met"),
    [
        (Forget("accuracy", at_most=0.5), HALF, True),
        (Forget("accuracy", at_most=0.49), HALF, False),
        (Forget("loss", at_least=0.5), HALF, True),
        (Forget("loss", at_least=0.51), HALF, False),
    ],
)
def test_a_level_is_met_where_it_is_reached(clause: Forget, value: Any, met: bool) -> None:
    found = goal(clause).read({"forget": {"accuracy": value, "loss": value}}, "")
    assert (found.measured, found.met, found.n, found.bound) == (0.5, met, 100, None)


def test_retrained_is_met_on_either_side_within_the_margin() -> None:
    made = goal(Forget("retrained", margin=0.25), retrained={"accuracy": np.full(8, 0.5)})
    assert made.limit == 0.5
    for level, met in ((0.25, True), (0.75, True), (0.125, False), (0.875, False)):
        found = made.read({"forget": {"accuracy": np.full(64, level)}}, "")
        assert found.met == met and found.measured == level


EASY, LIKE = np.linspace(0.0, 1.0, 200), np.linspace(0.01, 1.01, 200)


@pytest.mark.parametrize("attacked", [False, True])
@pytest.mark.parametrize("low", [False, True])
def test_unseen_needs_an_attack_that_fails_and_a_loss_that_is_not_below(attacked: bool, low: bool) -> None:
    """Either alone is not enough."""
    forget = {SCORE: EASY + 0.9 * attacked, "loss": LIKE - 0.5 * low}
    seen = {"forget final": forget, "holdout final": {SCORE: EASY, "loss": EASY}}
    found = goal(Forget("unseen")).read(seen, " final")
    assert found.met == (not attacked and not low) and found.n == 200
    assert (found.measured > 0.9) == attacked
    assert f"{float(forget['loss'].mean() - EASY.mean()):+.3g} nats" in found.note


@pytest.mark.parametrize("bad", ["forget score", "forget loss", "holdout loss"])
def test_what_is_not_finite_is_not_forgotten(bad: str) -> None:
    seen = {s: {SCORE: EASY.copy(), "loss": LIKE.copy()} for s in ("forget", "holdout")}
    place, name = bad.split()
    seen[place][name][0] = math.inf
    found = goal(Forget("unseen")).read(seen, "")
    assert not found.met and math.isnan(found.measured) and found.note == "not finite"


def test_progress_goes_from_the_original_to_the_level() -> None:
    def of(measured: float, met: bool = False) -> Reading:
        return reading(measured, met=met)

    made = goal(Forget("accuracy", at_most=0.2))
    assert [made.progress(of(x), of(1.0)) for x in (1.0, 0.6, 0.2, 1.5)] == pytest.approx([0.0, 0.5, 0.99, 0.0])
    assert made.progress(of(0.9, True), of(1.0)) == 1.0
    assert made.progress(of(math.nan), of(1.0)) == 0.0 and made.progress(of(0.5), of(0.2)) == 0.0
    near = goal(Forget("retrained", margin=0.1), retrained={"accuracy": np.full(8, 0.5)})
    assert near.progress(of(0.7), of(0.8)) == pytest.approx(0.5)  # from .2 beyond the margin to .1
    attack = goal(Forget("unseen", margin=0.1))
    assert attack.progress(of(0.75), of(0.9)) == pytest.approx(0.5) and attack.progress(of(0.55), of(0.9)) == 0.99


def test_a_state_as_a_point() -> None:
    """Forget accuracy, accuracy lost and its bound: the largest over the ungrouped clauses on accuracy."""
    loss, some = limit(Keep("loss", absolute=0.5), VALUES), limit(Keep("accuracy", absolute=0.2), RIGHT)
    readings = [reading(9.0, 9.5), reading(0.1, 0.2), reading(0.15, 0.18)]
    seen = {"forget": {"accuracy": HALF}}
    assert accuracy(seen, [loss, some, some], readings) == (0.5, 0.15, 0.18)
    assert accuracy(seen, [loss], readings[:1]) == (None, None, None)
    assert accuracy({"forget": {"loss": HALF}}, [some], readings[1:2]) == (None, None, None)
    assert accuracy(seen, [some], [None]) == (None, None, None)
    grouped = limit(Keep("accuracy", absolute=0.3, by="class"), RIGHT)
    assert accuracy(seen, [grouped], readings[1:2]) == (None, None, None)


def test_an_original_that_is_not_finite_and_one_example_decide_nothing() -> None:
    bad = VALUES.copy()
    bad[:2] = math.nan
    with pytest.raises(ConfigurationError, match="2 of 400 values of the original are not finite"):
        limit(Keep("loss", absolute=0.5), bad)
    with pytest.raises(ConfigurationError, match="a share of the original's value, 0, leaves no limit"):
        limit(Keep("loss", relative=0.5), np.zeros(N))


def test_the_budget_in_nats_is_the_least_of_the_clauses_that_are() -> None:
    wide, narrow = (limit(Keep("loss", absolute=x), VALUES) for x in (0.5, 0.3))
    share = limit(Keep("accuracy", absolute=0.2), RIGHT)
    assert rise([wide, share, narrow]) == 0.3 and rise([share]) == 0.02
    perplexity = limit(Keep("perplexity", relative=0.1), VALUES)
    assert rise([perplexity, narrow]) == pytest.approx(math.log(1.1))
    record = Record(7, Step(torch.zeros(2), torch.ones(1, 2)), 0.25, True)
    for steps, rest in ((None, 100), (0, 1), (12, 12)):
        rule = left([narrow], 0.5, steps, record)
        assert (rule.share, rule.rise, rule.steps, rule.lr) == (0.5, 0.15, rest, 0.25)


def test_what_a_clause_needs_and_does_not_find() -> None:
    keep, unseen, same = [Keep("loss", absolute=0.5)], [Forget("unseen")], [Forget("retrained")]
    for keeps, forgets, sets, retrained, missing in (
        (keep, unseen, Sets(data(), data(), None, data()), False, []),
        (keep, (), Sets(data(), data()), False, []),
        ((), unseen, Sets(data()), False, ["pass holdout="]),
        ((), same, Sets(data()), False, ["pass retrained="]),
        ((), same, Sets(data()), True, []),
        (keep, (), Sets(data()), False, ["pass guard="]),
        ((), (), Sets(data(), None, None, data(0)), False, ["the holdout is empty"]),
        ((), (), Sets(data(), None, None, data(1)), False, []),
        (keep, [*unseen, *same], Sets(data()), False, ["pass holdout=", "pass retrained=", "pass guard="]),
    ):
        if not missing:
            check(keeps, forgets, sets, retrained, Known(Classification()))
            continue
        with pytest.raises(ConfigurationError) as refused:
            check(keeps, forgets, sets, retrained, Known(Classification()))
        assert len(refused.value.faults) == len(missing)
        assert all(part in fault for part, fault in zip(missing, refused.value.faults, strict=True))


def test_what_limits_a_claim_is_said() -> None:
    keep, unseen, two = [Keep("loss", absolute=0.5)], [Forget("unseen")], [Forget("unseen"), Forget("loss", at_least=1)]
    for keeps, forgets, sets, default, said in (
        (keep, (), Sets(data(), data(), data()), False, []),
        (keep, (), Sets(data(), data()), False, ["No final set"]),
        ((), (), Sets(data()), False, []),
        ((), unseen, Sets(data(), holdout=data(199)), True, ["The holdout is small"]),
        ((), unseen, Sets(data(), holdout=data(200)), True, []),
        ((), unseen, Sets(data(), holdout=DataLoader(data(10))), True, []),
        ((), (), Sets(data(), holdout=data(10)), True, []),
        ((), two, Sets(data(), holdout=data(200)), True, ["Default: a class removed whole"]),
        ((), two, Sets(data(), holdout=data(200)), False, []),
    ):
        found = remarks(keeps, forgets, sets, default)
        assert len(found) == len(said) and all(a in b for a, b in zip(said, found, strict=True)), said


def test_a_loss_that_is_not_finite_is_not_forgotten_however_large() -> None:
    values = np.where(np.arange(8) < 1, math.inf, 9.0)
    found = goal(Forget("loss", at_least=1.0)).read({"forget": {"loss": values}}, "")
    assert (found.state, found.note) == ("missed", "not finite") and math.isnan(found.measured)


def test_an_attack_at_the_margin_and_a_p_value_at_its_level_are_not_shown_to_tell() -> None:
    """Members above three of four others: the AUC is .75, and the margin a quarter."""
    other = np.arange(200) / 4
    seen = {"forget": {SCORE: np.full(200, 37.4), "loss": EASY - 0.04}, "holdout": {SCORE: other, "loss": EASY}}
    made = goal(Forget("unseen", margin=0.25))
    found = made.read(seen, "")
    assert (found.measured, made.limit, found.state) == (0.75, 0.75, "met")
    assert made.progress(reading(0.75, met=False), reading(0.75, met=False)) == 0.99, "the losses still differ"
    p, count = below(EASY - 0.04, EASY), 0
    for alpha, state in ((p, "met"), (math.nextafter(p, 1.0), "missed")):
        assert replace(made, alpha=alpha).read(seen, "").state == state
        count += 1
    assert 0.01 < p < 0.1 and count == 2


def test_chance_may_use_up_two_margins_and_no_more() -> None:
    by_chance, count = smallest(64, 1 - Contract().confidence), 0
    for margin, state in ((by_chance / 2, "met"), (math.nextafter(by_chance / 2, 0.0), "undecided")):
        same = {"accuracy": np.ones(64)}
        assert goal(Forget("retrained", margin=margin), retrained=same).read({"forget": same}, "").state == state
        count += 1
    assert count == 2
