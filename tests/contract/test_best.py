"""Which of the states that a keeper saw is the best, and what of it is told: ranks, ties, the cheapest of several."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contract._two import GONE, KEEP, Run, failing, made
from unweave import places
from unweave.contract import Contract, Forget, Keep
from unweave.contract.keeper import MET, SPENT

FAR = Forget("loss", at_least=6.0)


def end(run: Run) -> list[float]:
    """The state that the run is left with."""
    run.keeper.finish(run.model, "interrupted")
    return run.theta


def test_the_last_reading_is_that_of_the_last_step_if_there_was_one() -> None:
    run = Run(Contract([KEEP], (GONE,), every=2))
    assert run.keeper.last is None
    run.step(0.0, 1.0)
    assert run.keeper.last is None
    run.step(0.0, 2.0)
    assert run.keeper.last is not None and (run.keeper.last.step, run.keeper.last.forgotten) == (2, 0.5)
    run.step(0.0, 2.0)
    assert run.keeper.last is None, "a step later it is not the last step's"
    run.step(0.0, 3.0)
    assert run.keeper.last is run.keeper.path[1] and run.keeper.last.step == 4


def test_of_two_states_that_forgot_alike_the_first_is_kept() -> None:
    run = Run(made())
    run.step(0.0, 2.0)
    run.step(0.05, 2.0)
    assert end(run) == [0.0, 2.0]


def test_what_was_forgotten_is_the_mean_over_the_goals() -> None:
    run = Run(made(forget=(GONE, FAR)))
    assert run.step(0.0, 3.0) is None and run.step(0.0, 5.0) is None and run.step(0.0, 6.0) == MET
    assert [look.forgotten for look in run.keeper.path] == pytest.approx([(3 / 4 + 3 / 6) / 2, (1 + 5 / 6) / 2, 1.0])


def test_the_budget_used_is_the_largest_over_the_keep_clauses_and_none_without_any() -> None:
    wide = Keep(failing, absolute=0.4, better="lower")
    both, narrow = Run(Contract([KEEP, wide], (GONE,), every=1)), Run(made())
    for run in (both, narrow):
        run.step(0.05, 1.0)
    assert 0 < both.keeper.path[0].used == narrow.keeper.path[0].used < 1
    free = Run(Contract((), (GONE,), every=1))
    assert free.keeper.left == 1.0
    free.step(0.9, 1.0)
    assert free.keeper.left == 1.0 and free.keeper.path[0].used == 0.0


def test_of_states_that_meet_every_goal_the_one_that_used_least_is_the_best_and_then_the_cheapest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a repair asks for it; what is not forgotten yet is ranked as ever, whatever it costs."""
    monkeypatch.setattr(places, "HALVINGS", 0)
    run, price = Run(made(forget=(GONE, FAR))), [1.0]
    run.keeper.cost = lambda: price[-1]
    assert run.step(0.0, 5.5) is None, "one goal of two is not enough, however little it used"
    for used, loss, asked, best in (
        (0.05, 9.0, 1.0, [0.05, 9.0]),
        (0.0, 7.0, 5.0, [0.0, 7.0]),  # used less, at a higher price
        (0.0, 8.0, 6.0, [0.0, 7.0]),  # forgot more, at a higher price
        (0.0, 6.5, 3.0, [0.0, 6.5]),  # cheaper
        (0.05, 9.0, 0.5, [0.0, 6.5]),  # cheapest, and used more
    ):
        price.append(asked)
        assert run.step(used, loss) == MET and run.keeper.path[-1].forgotten == 1.0
        assert run.keeper.reached
        run.keeper._best.restore(run.model)
        assert run.theta == best
    assert end(run) == [0.0, 6.5]


def test_a_state_that_meets_every_goal_is_taken_back_to_where_it_just_does() -> None:
    """Of a run that repairs: on the way from the state before, a quarter at a time; each look is a look."""
    run = Run(made(forget=(GONE, FAR)))
    run.keeper.cost = lambda: 1.0
    assert run.step(0.0, 4.0) is None and run.theta == [0.0, 4.0]
    assert run.step(0.04, 8.0) == MET and run.theta == [0.02, 6.0], "met from 6 on"
    assert [look.step for look in run.keeper.path] == [1, *[2] * 4]
    assert [look.forgotten == 1.0 for look in run.keeper.path] == [False, True, True, False, True]
    assert float(run.model.calls) == 8.0, "buffers are as the step left them"
    run.keeper._kept.restore(run.model)
    assert run.theta == [0.02, 6.0], "from here on it is the state to go back to"
    assert run.step(0.04, 9.5) == MET and run.theta == [0.04, 9.5] and len(run.keeper.path) == 6, "none before was not"
    assert run.step(0.0, 5.5) is None and run.step(0.04, 9.5) == MET, "it was lost, and is won back"
    looks = [look.forgotten == 1.0 for look in run.keeper.path[6:]]
    assert run.theta == [0.005, 6.0] and looks == [False, True, True, True, True, False, True]
    drawn = Run(made(forget=(GONE, FAR)))
    drawn.keeper.cost, drawn.keeper._mends = (lambda: 1.0), True  # as where what is drawn is read, at a high price
    assert drawn.step(0.0, 5.5) is None and drawn.step(0.04, 9.5) == MET and drawn.theta == [0.04, 9.5]
    plain = Run(made(forget=(GONE, FAR)))
    assert plain.step(0.0, 5.5) is None and plain.step(0.04, 9.5) == MET and plain.theta == [0.04, 9.5]


def test_a_state_that_broke_a_clause_is_not_the_one_before() -> None:
    """The way goes back to the last state that kept all, which the run had gone back to."""
    run = Run(made(forget=(GONE, FAR)))
    run.keeper.cost = lambda: 1.0
    assert run.step(0.0, 4.0) is None and run.step(0.3, 9.0) is None and run.theta == [0.0, 4.0]
    assert run.step(0.04, 8.0) == MET and run.theta == [0.02, 6.0]


@pytest.mark.parametrize(("shrinks", "reason"), [(1, MET), (0, SPENT)])
def test_a_state_on_the_way_back_that_breaks_a_clause_is_passed_by_and_opens_a_sequence_of_tests(
    shrinks: int, reason: str
) -> None:
    def between(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        """All fail while the forget loss is between 6.2 and 8.2."""
        return torch.full_like(batch[1], float(6.2 < model.theta[1] < 8.2), dtype=torch.float64)

    keep = Keep(between, absolute=0.2, better="lower")
    run = Run(Contract([keep], (FAR,), every=1, shrinks=shrinks))
    run.keeper.cost = lambda: 1.0
    assert run.step(0.0, 5.5) is None
    assert run.step(0.0, 9.5) == reason and run.theta == [0.0, 8.5], "7.5 lies before it"
    assert [look.kept for look in run.keeper.path] == [True, True, False, True]


def test_without_a_goal_a_price_decides_nothing() -> None:
    run = Run(made(forget=()))
    run.keeper.cost = lambda: 1.0
    assert run.step(0.0, 3.0) is None and run.step(0.0, 2.0) is None
    assert end(run) == [0.0, 3.0]
