"""What a keeper decides, look by look: a model of two numbers, set by hand, of which one is utility, one forgetting."""

from __future__ import annotations

import math
import time

import pytest
import torch

from tests.contract._two import FORGET, GONE, KEEP, RETAIN, Given, Run, State, Two, failing, made, share
from unweave.contract import Contract, Keep, Keeper
from unweave.contract.keeper import HARD, NOTHING, SPENT
from unweave.contract.sets import Sets
from unweave.errors import ConfigurationError
from unweave.loop import Record
from unweave.rules import Step


def test_the_end_is_the_state_that_forgot_most_not_the_last_one() -> None:
    run = Run(made())
    for fails, loss in ((0.0, 1.0), (0.05, 2.0), (0.0, 1.5)):
        assert run.step(fails, loss) is None
    outcome = run.keeper.finish(run.model, "steps used up")
    assert run.theta == [0.05, 2.0] and run.model.calls.item() == 2.0 and outcome.reason == "steps used up"
    keep, gone = outcome.verdicts
    assert keep.guard is not None and keep.guard.measured == pytest.approx(0.05)
    assert gone.guard is not None and gone.guard.measured == 2.0 and gone.final is not None and not gone.met
    assert keep.final is not None and keep.final.measured == pytest.approx(0.05) and keep.met
    assert [look.forgotten for look in outcome.path] == pytest.approx([0.25, 0.5, 0.375])
    assert outcome.looks == 3 and outcome.left == pytest.approx(1 - outcome.path[1].used)
    assert outcome.path[0].used == 0.0 < outcome.path[1].used < 1


def test_a_state_that_breaks_a_clause_is_never_the_end_however_much_it_forgot() -> None:
    run = Run(made())
    assert run.step(0.0, 1.0) is None and run.step(0.5, 9.0) is None
    assert run.theta == [0.0, 1.0], "the last state that kept all"
    outcome = run.keeper.finish(run.model, "interrupted")
    assert run.theta == [0.0, 1.0] and outcome.reason == "interrupted" and outcome.kept
    assert [(look.kept, look.rolled_back) for look in outcome.path] == [(True, False), (False, True)]


def test_the_original_is_one_of_the_states() -> None:
    run = Run(made(), start=(0.0, 1.0))
    assert run.step(0.0, 0.5) is None
    outcome = run.keeper.finish(run.model, "steps used up")
    assert run.theta == [0.0, 1.0] and outcome.path[0].forgotten == 0.0


def test_back_goes_everything_to_the_last_kept_state_and_the_steps_get_shorter() -> None:
    run = Run(made(shrinks=2))
    assert run.step(0.0, 2.0, radius=0.5) is None and run.step(0.0, 1.0, radius=0.25) is None
    assert run.step(0.9, 8.0, radius=0.125) is None
    assert run.theta == [0.0, 1.0] and run.model.calls.item() == 1.0
    assert run.rule.value == run.stepper.value == 2
    assert run.stepper.shrunk == [(0.5, 0.125)], "the reach is that of the steps since the last kept state"
    assert run.step(0.9, 8.0) is None
    assert run.stepper.shrunk == [(0.5, 0.125), (0.5, None)], "shrunk once more, though the state went back"
    assert run.step(0.9, 8.0) == SPENT and len(run.stepper.shrunk) == 2
    outcome = run.keeper.finish(run.model, SPENT)
    assert run.theta == [0.0, 2.0] and outcome.rollbacks == 2 and outcome.reason == SPENT
    assert [look.rolled_back for look in outcome.path] == [False, False, True, True, False]


def test_the_reach_is_the_longest_radius_that_was_accepted_since() -> None:
    run = Run(Contract([KEEP], (GONE,), every=3))
    run.step(0.0, 1.0, radius=0.5)
    run.step(0.0, 1.0, radius=0.75)
    run.step(0.9, 1.0, accepted=False, radius=4.0)
    assert run.stepper.shrunk == [(0.5, 0.75)]
    run.step(0.0, 1.0, radius=0.75)
    run.step(0.0, 1.0, radius=0.5)
    run.step(0.9, 1.0)
    assert run.stepper.shrunk == [(0.5, 0.75), (0.5, 0.75)], "not the last one"


def test_looks_come_every_so_many_steps_and_only_where_something_moved() -> None:
    run = Run(Contract([KEEP], (GONE,), every=3))
    for n in range(1, 10):
        run.step(0.0, float(n) / 4, accepted=n in (2, 7))
    assert [look.step for look in run.keeper.path] == [3, 9]
    outcome = run.keeper.finish(run.model, "steps used up")
    assert outcome.looks == 2 and [look.step for look in outcome.path] == [3, 9]


def test_a_run_that_did_not_move_is_not_read_again() -> None:
    outcome = (run := Run(made())).keeper.finish(run.model, "steps used up")
    assert outcome.path == () and outcome.looks == 0 and outcome.reason == "steps used up"
    assert all(verdict.guard is not None for verdict in outcome.verdicts)


@pytest.mark.parametrize(
    ("reason", "ends"),
    [
        ("steps used up", "contract met"),
        ("pairs exhausted", "contract met"),
        ("changed once: the method takes no further step", "contract met"),
        ("interrupted", "interrupted"),
        ("hard: no way", f"{HARD} (no way)"),
        (f"{HARD} (no way)", f"{HARD} (no way)"),
        ("diverged: far", "diverged: far"),
    ],
)
def test_the_last_state_is_read_and_may_meet_the_contract(reason: str, ends: str) -> None:
    run = Run(Contract([KEEP], (GONE,), every=100))
    run.step(0.0, 5.0)
    outcome = run.keeper.finish(run.model, reason)
    assert outcome.reason == ends and outcome.looks == 0 and len(outcome.path) == 1 and outcome.met
    again = run.keeper.finish(run.model, "steps used up")
    assert len(again.path) == 1, "once read, it is not read again"


def test_met_ends_the_run_and_only_where_every_goal_is_and_every_limit() -> None:
    run = Run(made())
    assert run.step(0.0, 3.9) is None and run.step(0.9, 5.0) is None and run.step(0.0, 4.0) == "contract met"
    assert run.keeper.path[-1].forgotten == 1.0
    free = Run(made(forget=()))
    assert free.step(0.0, 9.0) is None and free.keeper.path[0].forgotten is None
    free.step(0.0, 8.0)
    free.keeper.finish(free.model, "steps used up")
    assert free.theta == [0.0, 9.0], "without a goal the forget loss decides"


def test_a_forget_loss_that_is_not_finite_is_not_the_most_forgotten() -> None:
    for loss in (math.inf, math.nan):
        run = Run(made(forget=()))
        run.step(0.0, 2.0)
        run.step(0.0, loss)
        run.keeper.finish(run.model, "steps used up")
        assert run.theta == [0.0, 2.0]


def test_where_it_begins() -> None:
    assert Run(made()).began is None
    assert Run(made(), start=(0.0, 5.0)).began == NOTHING
    assert Run(made(forget=()), start=(0.0, 5.0)).began is None
    spent = Run(made(), start=(0.9, 5.0), first=lambda: Two(0.0, 0.0))
    assert spent.began == SPENT and spent.keeper.left == 0.0
    assert spent.keeper.finish(spent.model, SPENT).left == 0.0
    part = Run(made(), start=(0.05, 1.0), first=lambda: Two(0.0, 0.0))
    assert part.began is None and 0 < part.keeper.left < 1
    part.step(0.0, 2.0)
    assert part.keeper.left == 1.0 and part.keeper.begin(part.model, part.rule, part.stepper) is None
    assert len(part.keeper.path) == 1, "a second beginning goes on"


def test_a_retrained_model_that_no_clause_asks_for_is_not_read() -> None:
    broken = torch.nn.Identity()  # has nothing that could be read
    assert Run(made(), retrained=broken).began is None


def test_what_is_checked_before_is_what_is_compared_with() -> None:
    contract = Contract([Keep(failing, relative=0.5, better="lower")], (GONE,), every=1)
    sets = Sets(share(FORGET), share(RETAIN), share(RETAIN))
    model, zero = Two(0.5, 0.0), Two(0.0, 0.0)
    keeper = Keeper(contract, Given(), sets, per_step=1)  # type: ignore[arg-type]
    keeper.check(model)
    with pytest.raises(ConfigurationError, match="leaves no limit"):
        Keeper(contract, Given(), sets, per_step=1, first=lambda: zero).check(model)  # type: ignore[arg-type]
    Keeper(contract, Given(), sets, per_step=1, first=lambda: model).check(zero)  # type: ignore[arg-type]


def test_the_clauses_before_and_after_the_original_is_read() -> None:
    sets = Sets(share(FORGET), share(RETAIN), share(RETAIN))
    keeper = Keeper(made(), Given(), sets, per_step=10)  # type: ignore[arg-type]
    assert keeper.clauses == [] and keeper.left == 1.0 and keeper.state_dict() == {}
    unread = keeper.finish(Two(), "interrupted")
    assert (unread.reason, unread.every) == ("interrupted", 1)
    assert unread.looks == unread.seconds == unread.rollbacks == 0
    assert unread.verdicts == unread.path == unread.notes == () and (unread.left, unread.share) == (1.0, 0.0)
    keeper.load_state_dict({})
    assert keeper.begin(Two(), State(), State()) is None
    keep, gone = keeper.clauses
    assert (keep.side, keep.limit, keep.metric, keep.group, keep.guard) == ("keep", 0.2, "failing", None, None)
    assert (gone.side, gone.limit, gone.metric, gone.group, gone.final) == ("forget", 4.0, "loss", None, None)


def test_how_often_it_looks_if_nobody_says() -> None:
    """440 examples a look, three passes an example of a step, 7 %; at least after every step."""
    for per_step, every in ((10, math.ceil(440 / 2.1)), (100, 21), (10**6, 1)):
        assert Run(Contract([KEEP], (GONE,)), per_step=per_step).keeper.every == every
    assert Run(Contract((), (GONE,)), per_step=1).keeper.every == math.ceil(40 / 0.21), "no guard set, no cost"
    nothing = Keeper(Contract((), (GONE,)), Given(), Sets(share(FORGET[:0])), per_step=10)  # type: ignore[arg-type]
    assert nothing.every == 1


def test_what_is_left_for_a_rule_that_follows_it() -> None:
    run = Run(made())
    run.step(0.05, 1.0)
    record = Record(1, Step(torch.zeros(2), torch.ones(1, 2)), 0.5, True)
    left = run.keeper.remaining(record, 7)
    assert (left.share, left.steps, left.lr) == (run.keeper.left, 7, 0.5)
    assert left.rise == pytest.approx(0.02 * run.keeper.left)
    assert run.keeper.left == pytest.approx(1 - run.keeper.path[0].used)
    run.step(0.9, 1.0)
    assert run.keeper.left == pytest.approx(1 - run.keeper.path[0].used), "of the last kept state"


def test_reading_is_on_the_clock() -> None:
    began = time.perf_counter()
    run = Run(made())
    first = run.keeper.seconds
    run.step(0.0, 1.0)
    second = run.keeper.seconds
    run.step(0.9, 1.0)
    third = run.keeper.seconds
    outcome = run.keeper.finish(run.model, "steps used up")
    assert 0 < first < second < third < outcome.seconds < time.perf_counter() - began


def test_a_loaded_keeper_goes_on_where_it_was() -> None:
    run, other = Run(made(shrinks=1)), Run(made(shrinks=1))
    run.step(0.05, 2.0, radius=0.5)
    run.step(0.9, 3.0, radius=0.25)
    run.step(0.0, 1.0, radius=0.125)
    state = run.keeper.state_dict()
    fresh = Keeper(made(shrinks=1), Given(), Sets(share(FORGET), share(RETAIN), share(RETAIN)), per_step=10)  # type: ignore[arg-type]
    fresh.load_state_dict(state)
    run.step(0.0, 1.5)  # what was saved does not move on
    other.keeper = fresh
    assert other.keeper.path == run.keeper.path[:3] and other.keeper.rollbacks == 1
    assert other.keeper.left == pytest.approx(1.0) and other.keeper.seconds > 0
    other.number = 3
    assert other.step(0.9, 9.0) == SPENT and other.theta == [0.0, 1.0]
    outcome = fresh.finish(other.model, SPENT)
    assert other.theta == [0.05, 2.0] and outcome.verdicts[1].guard is not None
    assert outcome.verdicts[1].guard.measured == 2.0
