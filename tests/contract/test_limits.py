"""What becomes of a keep clause on the original's values: what one example counts, what is refused, what is widened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from unweave.contract import Contract, Keep
from unweave.contract.bounds import lower, smallest, upper
from unweave.contract.clauses import FIVEFOLD, LOSS_SHARE
from unweave.contract.judge import Limit, limits
from unweave.contract.metrics import key, values
from unweave.contract.reading import Reading
from unweave.contract.sets import Sets
from unweave.errors import ConfigurationError
from unweave.evaluation.metric import Array
from unweave.tasks import Dense, Known

N = 400
ALPHA = 0.05 / 4  # of a look at the guard set: three rollbacks open three more paths
SPREAD = np.linspace(1.0, 2.0, N)
RIGHT = (np.arange(N) % 10 > 0).astype(float)


def own(model: Any, batch: Any) -> Any:
    raise NotImplementedError


def data(labels: Sequence[int]) -> TensorDataset:
    return TensorDataset(torch.zeros(len(labels), 1), torch.tensor(labels))


def made(
    keep: Sequence[Keep] | None, values: Array, utility: str = "accuracy", unit: str = "nats", sets: Sets | None = None
) -> tuple[list[Limit], list[str]]:
    """The limits and the notes, for an original with these values on the guard set; there is no final set."""
    contract = Contract(keep, ())
    keeps = contract.keeps(utility)
    seen = {"guard": {key(clause.metric, number): values for number, clause in enumerate(keeps)}}
    return limits(contract, keeps, seen, sets or Sets(data([0]), data([0])), unit)


def one(clause: Keep, values: Array, unit: str = "nats") -> Limit:
    return made([clause], values, unit=unit)[0][0]


def read(limit: Limit, before: Array, after: Array) -> Reading:
    found = limit.read({"guard": {limit.key: after}}, {"guard": {limit.key: before}}, "guard")
    assert found is not None
    return found


def faults(keep: Sequence[Keep], values: Array, sets: Sets | None = None) -> list[str]:
    """Why these clauses are refused."""
    with pytest.raises(ConfigurationError) as refused:
        made(keep, values, sets=sets)
    return list(refused.value.faults)


@pytest.mark.parametrize(
    ("least", "most", "clip"),
    [(0.0, 0.9, 1.0), (0.1, 1.0, 1.0), (-5.0, 1.0, 6.0), (0.5, 5.0, 4.5), (0.0, 1.5, 1.5), (-0.4, -0.1, 0.3)],
)
def test_an_example_of_a_function_counts_one_where_its_values_are_shares_and_their_span_elsewhere(
    least: float, most: float, clip: float
) -> None:
    found = one(Keep(own, absolute=0.2, better="lower"), np.linspace(least, most, N))
    assert found.clip == pytest.approx(clip)
    assert found.text == f"own rises by at most 0.2, each example counted up to {clip:.3g}", "it has no unit"


def test_an_example_of_a_loss_in_another_unit_counts_five_limits_and_no_more_than_its_span() -> None:
    assert one(Keep("loss", absolute=0.1), np.linspace(0.1, 0.9, N), "error").clip == pytest.approx(0.5)

    found = one(Keep("loss", absolute=0.2), np.linspace(0.1, 0.9, N), "error")
    assert found.clip == pytest.approx(0.8) and found.text.endswith("counted up to 0.8 error")


def test_a_clip_that_was_asked_for_counts_where_all_values_are_0_or_1() -> None:
    found, after = one(Keep(own, absolute=0.5, better="higher", clip=0.8), RIGHT), RIGHT.copy()
    after[1:71:10] = 0.0
    assert found.clip == 0.8 and read(found, RIGHT, after).bound == upper(RIGHT - after, ALPHA, 0.8)


@pytest.mark.parametrize("before", [False, True])
def test_values_between_0_and_1_are_seen_though_the_original_had_none(before: bool) -> None:
    """No bound for proportions is taken of what is none: each example counts up to 1."""
    found = one(Keep(own, absolute=0.2, better="lower"), np.zeros(N))
    assert found.clip is None
    half = np.where(np.arange(N) < 40, 0.5, 0.0)
    first, second = (half, np.zeros(N)) if before else (np.zeros(N), half)
    got, worse = read(found, first, second), second - first
    assert (got.bound, got.low) == (upper(worse, ALPHA, 1.0), lower(worse, ALPHA, 1.0))


def test_how_many_lose_more_than_they_count_is_said() -> None:
    after = SPREAD.copy()
    after[:10] += 5.0
    assert read(one(Keep("loss", absolute=0.5), SPREAD), SPREAD, after).note == "2.5 % lose more than 3"
    assert read(one(Keep("accuracy", absolute=0.2), RIGHT), RIGHT, RIGHT).note == ""


def test_a_limit_is_met_at_its_bound_and_missed_only_below_the_lower_one() -> None:
    limit, after = one(Keep("loss", absolute=0.5), SPREAD), SPREAD + 0.1
    found, count = read(limit, SPREAD, after), 0
    assert found.bound is not None and found.low is not None
    for judged, state in (
        (found.bound, "met"),
        (math.nextafter(found.bound, 0.0), "undecided"),
        (found.low, "undecided"),
        (math.nextafter(found.low, -1.0), "missed"),
    ):
        assert read(replace(limit, judged=judged), SPREAD, after).state == state
        count += 1
    assert count == 4


def test_the_smallest_limit_that_can_be_decided_is_taken_and_none_below_it() -> None:
    least = smallest(N, ALPHA)
    limit = one(Keep("accuracy", absolute=least), RIGHT)
    assert read(limit, RIGHT, RIGHT).met
    assert limit.used(read(limit, RIGHT, RIGHT)) == 0.0, "it leaves no room, and an unchanged model needs none"
    assert limit.used(Reading(0.1, 0.1, "missed", N)) > 1
    (fault,) = faults([Keep("accuracy", absolute=math.nextafter(least, 0.0))], RIGHT)
    assert "even an unchanged model would miss it" in fault


def test_an_example_that_counts_no_more_than_the_limit_can_never_break_it() -> None:
    (fault,) = faults([Keep("loss", absolute=0.5, clip=0.5)], SPREAD)
    assert "must be able to count more than the limit, 0.5; found 0.5" in fault


def test_a_limit_that_cannot_be_decided_is_named_as_it_was_asked_for() -> None:
    """A share of a loss as a share; of a perplexity, whose logarithm is averaged, in nats and as what to write."""
    (fault,) = faults([Keep("loss", relative=0.02)], SPREAD)
    least = smallest(N, ALPHA, 3.0) / 1.5
    assert f"keep loss: a limit of 0.02 of 1.5 cannot be decided with {N} guard examples" in fault
    assert f"The smallest that can is {least:.3g};" in fault
    (fault,) = faults([Keep("perplexity", relative=0.01)], SPREAD)
    assert "keep perplexity: a limit of 0.00995 nats cannot be decided" in fault
    least = smallest(N, ALPHA, 1.0)
    enough = float(fault.split("(relative: ")[1].split(")")[0])
    assert f"The smallest that can is {least:.3g} nats (relative: " in fault and enough == pytest.approx(
        math.exp(least) - 1, abs=1e-3
    )
    assert one(Keep("perplexity", relative=enough), SPREAD).judged >= least, "what the message names is accepted"


def test_a_group_that_cannot_be_decided_is_named() -> None:
    labels = [0] * 390 + [1] * 10
    (fault,) = faults([Keep("loss", absolute=0.5, by="class")], SPREAD, Sets(data([0]), data(labels)))
    assert fault.startswith("keep loss for group 1: a limit of 0.5 nats cannot be decided with 10 guard examples")


def test_a_group_without_guard_examples_is_refused_and_no_limit_is_left_out() -> None:
    sets = Sets(data([0]), data([0] * N), data([0, 1]))
    assert faults([Keep("loss", absolute=0.5, by="class")], SPREAD, sets) == [
        "keep loss: group 1 has no example in the guard set."
    ]


def test_groups_need_no_final_set() -> None:
    sets = Sets(data([0]), data([0, 1] * (N // 2)))
    found, _ = made([Keep("loss", absolute=0.5, by="class")], SPREAD, sets=sets)
    assert [(limit.group, int(limit.members["guard"].sum())) for limit in found] == [("0", N // 2), ("1", N // 2)]
    assert not any(limit.members["final"].any() for limit in found)


def test_values_that_are_not_finite_are_the_one_fault_of_their_clause() -> None:
    bad = np.where(np.arange(N) < 3, math.nan, SPREAD)
    assert faults([Keep("loss", relative=0.5), Keep("perplexity", relative=0.5, name="text")], bad) == [
        f"keep {name}: 3 of {N} values of the original are not finite." for name in ("loss", "text")
    ]


def test_a_perplexity_beyond_all_numbers_still_has_a_limit() -> None:
    found = one(Keep("perplexity", relative=0.5), np.full(N, 800.0))
    assert found.judged == pytest.approx(math.log(1.5)) and math.isfinite(found.limit)
    assert read(found, np.full(N, 800.0), np.full(N, 800.1)).met


def test_the_default_is_one_percent_where_the_examples_can_decide_it() -> None:
    right = np.ones(4000)
    (found,), notes = made(None, right)
    assert found.limit == 0.01 and notes == [] and found.text == "accuracy falls by at most 1 % of the original's"


def test_the_default_is_widened_to_twice_what_can_be_decided_and_says_so_in_the_clauses_unit() -> None:
    share, nats, count = 2 * smallest(N, ALPHA), 2 * smallest(N, ALPHA, 1.0), 0
    few = SPREAD[::20] - 1
    error = 2 * smallest(len(few), ALPHA, FIVEFOLD * LOSS_SHARE * float(few.mean()))
    for utility, seen, unit, judged, room, text in (
        ("accuracy", RIGHT, "nats", share, f"{100 * share:.2g} points", f"falls by at most {100 * share:.3g} points"),
        ("perplexity", SPREAD, "nats", nats, f"{100 * math.expm1(nats):.2g} %", "% of the original's"),
        ("loss", few, "error", error, f"{error:.2g} error", f"rises by at most {error:.3g} error"),
    ):
        (found,), (note,) = made(None, seen, utility, unit)
        assert found.judged == pytest.approx(judged) and text in found.text
        usual = 5 if utility == "loss" else 1
        assert note.startswith(
            f"Default: {utility} within {room} of the original's instead of {usual} %: with {len(seen)} guard"
        )
        base = math.exp(SPREAD.mean()) * math.expm1(nats) if utility == "perplexity" else judged
        assert found.limit == pytest.approx(base) and read(found, seen, seen).met
        count += 1
    assert count == 3


@pytest.mark.parametrize(("utility", "last"), [("accuracy", 6), ("perplexity", 7)])
def test_no_default_is_so_wide_that_no_model_could_miss_it(utility: str, last: int) -> None:
    """Up to so few guard examples, twice what can be decided is all that an example counts: nothing is promised."""
    for n in (1, last):
        with pytest.raises(ConfigurationError, match=f"cannot be decided with {n} guard examples.*a larger guard set"):
            made(None, np.ones(n), utility)
    (found,), _ = made(None, np.ones(last + 1), utility)
    worst = np.zeros(last + 1) if utility == "accuracy" else np.full(last + 1, 1e3)
    assert not read(found, np.ones(last + 1), worst).met


def test_how_wide_a_default_may_be_follows_from_what_an_example_counts() -> None:
    (found,), _ = made(None, np.linspace(0.0, 4.0, 20), "loss", "error")
    assert found.clip == pytest.approx(FIVEFOLD * LOSS_SHARE * 2.0) and LOSS_SHARE * 2.0 < found.judged < found.clip
    assert not read(found, np.zeros(20), np.full(20, 4.0)).met


def test_the_default_of_places_is_missed_where_only_the_small_class_is_lost() -> None:
    """One place in 256 is of it: a model that says background everywhere keeps the others, and half of the overlap."""
    task = Dense()
    known = Known(task)
    labels = torch.zeros(N, 16, 16, dtype=torch.long)
    labels[torch.arange(N), torch.arange(N) % 16, 1] = 1
    logits = nn.functional.one_hot(labels, 2).movedim(-1, 1).float()
    nothing = torch.zeros_like(logits)
    nothing[:, 0] = 1
    for utility, state in ((known.utility, "missed"), ("accuracy", "met")):
        before, after = (values(utility, task, nn.Identity(), (each, labels)).numpy() for each in (logits, nothing))
        seen = {"guard": {utility: before}}
        contract = Contract(None, ())
        (limit,) = limits(contract, contract.keeps(utility), seen, Sets(data([0]), data([0])), graded=True)[0]
        assert limit.judged < 0.1 and limit.clip == 1 and read(limit, before, before).state == "met"
        assert read(limit, before, after).state == state
    assert known.utility == "overlap"
