"""Clauses on what a model draws: what they say, what they read, and what a reading costs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.contract._two import State
from unweave.contract import Contract, Forget, Keep, bounds
from unweave.contract.keeper import DRAWN_EVERY, SPENT, Keeper
from unweave.contract.observer import FORGOTTEN, Observer, chosen
from unweave.contract.sets import CONDITIONS, Sets, check, hold_out
from unweave.errors import ConfigurationError
from unweave.loop import Record
from unweave.rules import Step
from unweave.tasks import Classification, Known


class Drawn:
    """A model of one number that draws a class where that number is at least the class's."""

    unit = "squared error"
    reading_passes = 3

    def __init__(self, passes: int = 20) -> None:
        class Recognised:
            def __call__(self, model: nn.Module, batch: Any) -> Tensor:
                return (batch[0] <= model.level).float()

        self.recognised = Recognised()
        self.recognised.passes = passes  # type: ignore[attr-defined]

    def nll(self, model: nn.Module, batch: Any) -> Tensor:
        return batch[0].square()

    divergence: Any = None

    def reading(self, model: nn.Module, batch: Any) -> Tensor:
        return batch[0].square() + 1


class Level(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.5))


def rows(count: int) -> torch.utils.data.TensorDataset:
    return torch.utils.data.TensorDataset(torch.arange(count) / count)


DEFAULT = Contract()


def test_the_default_comes_from_the_task() -> None:
    known = Known(Drawn())  # type: ignore[arg-type]
    keeps, forgets = DEFAULT.keeps(known.utility), DEFAULT.forgets(True, known.utility)
    assert [(each.metric, each.limit) for each in keeps] == [("recognised", 0.05), ("loss", 0.05)]
    assert [(each.metric, each.level) for each in forgets] == [("generated", 0.15)]
    assert [each.metric for each in DEFAULT.forgets(False, known.utility)] == ["unseen"]
    told = " ".join(each.text(known.unit) for each in (*keeps, *forgets))
    assert "nats" not in told and "perplexity" not in told and "recognised falls by at most 5 points" in told


def test_a_class_of_a_task_that_draws_nothing_has_no_default_end() -> None:
    with pytest.raises(ConfigurationError, match="Say when forgetting is enough"):
        DEFAULT.forgets(True, "loss")


def test_they_are_shares_of_examples_that_are_recognised() -> None:
    keeps, forgets = [Keep("recognised", absolute=0.1), Keep("loss", relative=0.1)], [Forget("generated", at_most=0.2)]
    sets = Sets(rows(20), rows(30), rows(40))
    task: Any = Drawn()
    observer = Observer(task, *chosen(sets, keeps, forgets, task, 0))
    seen = observer.see(Level(), ["guard", "final", "forget"])
    assert seen["guard"]["recognised"].mean() == pytest.approx(16 / 30)
    assert seen["final"]["recognised"].mean() == pytest.approx(21 / 40)
    assert seen["forget"]["generated"].mean() == pytest.approx(11 / 20)
    assert seen["guard"]["loss"].min() == 1, "the loss as it is read, not as a step has it"


def test_a_reading_is_counted_in_forward_passes() -> None:
    keeps, forgets = [Keep("recognised", absolute=0.1)], [Forget("generated", at_most=0.2)]
    sets, task = Sets(rows(20), rows(30), rows(40)), Drawn()
    observer = Observer(task, *chosen(sets, keeps, forgets, task, 0))  # type: ignore[arg-type]
    assert observer.passes(["guard", "forget", "holdout"]) == 20 * 30 + (20 + 3) * 20, (
        "its loss takes passes of its own"
    )
    contract = Contract(keeps, forgets)
    assert Keeper(contract, task, sets, per_step=500).every == 11  # type: ignore[arg-type]
    assert Keeper(contract, task, sets, per_step=10).every == DRAWN_EVERY  # type: ignore[arg-type]
    first, due, last = 20 * (30 + 40) + 23 * 20, 20 * 30 + 23 * 20, 20 * 40 + 23 * 20
    assert Keeper(contract, task, sets, per_step=500).passes(23) == first + 3 * due + last  # type: ignore[arg-type]
    loss = Observer(task, *chosen(sets, [Keep("loss", relative=0.1)], [], task, 0))  # type: ignore[arg-type]
    assert loss.passes(["guard"]) == 3 * 30 and not loss.reads(["recognised"])


def test_a_function_may_say_its_passes() -> None:
    def metric(model: nn.Module, batch: Any) -> Tensor:
        return batch[0]

    metric.passes = 7  # type: ignore[attr-defined]
    task: Any = Drawn()
    observer = Observer(
        task, *chosen(Sets(rows(5), rows(30)), [Keep(metric, absolute=0.1, better="lower")], [], task, 0)
    )
    assert observer.passes(["guard"]) == 210


def test_metrics_of_another_task_are_refused_by_name() -> None:
    sets = Sets(rows(5), rows(5), holdout=rows(5))
    for task, metric, words in (
        (Classification(), "recognised", "models that draw"),
        (Drawn(), "perplexity", "of likelihoods"),
        (Drawn(), "accuracy", "of classes"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            check([Keep(metric, relative=0.1)], [], sets, True, Known(task))  # type: ignore[arg-type]
    check([Keep("recognised", absolute=0.1)], [Forget("unseen")], sets, True, Known(Drawn()))  # type: ignore[arg-type]


def test_slips_are_told() -> None:
    with pytest.raises(ConfigurationError, match=r"Did you mean 0\.05"):
        Keep("recognised", absolute=5)
    with pytest.raises(ConfigurationError, match=r"Did you mean 0\.15"):
        Forget("generated", at_most=15)
    with pytest.raises(ConfigurationError, match="needs no clip"):
        Keep("recognised", absolute=0.05, clip=1)


class Several:
    """Draws as many images as it is asked for: image j of x is recognised at a level of `x + j / 1000`."""

    def __init__(self, images: int = 1, skip: int = 0) -> None:
        self.images, self.first, self.passes = images, skip, 20 * images

    def several(self, images: int, skip: int = 0) -> Several:
        return Several(images, skip)

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        return (batch[0][:, None] + (self.first + torch.arange(self.images)) / 1000 <= model.level).float()


class Draws(Drawn):
    def __init__(self) -> None:
        super().__init__()
        self.recognised: Any = Several()


def test_as_many_images_are_drawn_as_the_limit_takes_and_others_at_the_end() -> None:
    keeps, forgets = [Keep("recognised", absolute=0.05)], [Forget("generated", at_most=0.2)]
    task: Any = Draws()
    observer = Observer(task, *chosen(Sets(rows(30), rows(100), rows(100)), keeps, forgets, task, 0, 0.0125))
    seen = observer.see(Level(), ["guard", "final", "forget", "forget final"])
    each = -(-bounds.images(0.05, 0.0125) // 100)
    assert len(seen["guard"]["recognised"]) == 100 * each >= bounds.images(0.05, 0.0125)
    assert len(seen["final"]["recognised"]) == 100 * each
    drawn = seen["guard"]["recognised"].reshape(100, each)
    expected = np.arange(100)[:, None] / 100 + np.arange(each) / 1000 <= 0.5
    assert (drawn == expected)[np.abs(np.arange(100) - 50) > 5].all(), "example by example"
    forget, final = (seen[name]["generated"] for name in ("forget", "forget final"))
    assert len(forget) == len(final) >= FORGOTTEN and forget.mean() > final.mean(), "the end has images of its own"
    assert observer.passes(["guard"]) == 100 * 20 * each


def test_what_is_lost_of_a_limit_and_can_still_be_shown() -> None:
    count = 0
    for limit, alpha in ((0.05, 0.0125), (0.05, 0.05), (0.02, 0.0125)):
        n = bounds.images(limit, alpha)
        assert bounds.tango(round(bounds.LOSING * limit * n), 0, n, alpha) <= limit + 1 / n
        assert bounds.tango(round(bounds.LOSING * limit * n / 2), 0, n // 2, alpha) > limit
        count += 1
    assert count == 3


def test_few_examples_are_held_out_where_several_images_are_drawn_of_each() -> None:
    contract, data = Contract(), rows(4000)
    for task, guard in ((Draws(), CONDITIONS), (Drawn(), bounds.size(0.05, 0.05 / 4))):
        known = Known(task)  # type: ignore[arg-type]
        train, sets = hold_out(contract, contract.keeps(known.utility), data, forget=rows(5), task=known)
        assert [len(each) for each in (sets.guard, sets.final, train)] == [guard, guard, 4000 - 2 * guard]  # type: ignore[arg-type]


def test_groups_have_the_images_of_their_examples() -> None:
    names, task = ["a", "b"] * 200, Draws()
    clause = Keep("recognised", absolute=0.2, by=names)
    known = Known(task)  # type: ignore[arg-type]
    _, sets = hold_out(Contract([clause], ()), [clause], rows(400), forget=rows(5), task=known)
    keeper = Keeper(Contract([clause], ()), task, sets, per_step=10)  # type: ignore[arg-type]
    keeper.begin(Level(), State(), State())
    verdicts = keeper.finish(Level(), "steps used up").verdicts
    assert [each.group for each in verdicts] == ["a", "b"]
    assert all(
        each.guard is not None and each.guard.n >= bounds.images(0.2, 0.05 / 8) and each.met for each in verdicts
    )


class Walk:
    """A keeper of what is drawn, and a model whose level is set."""

    def __init__(self, shrinks: int = 3) -> None:
        contract = Contract(
            [Keep("recognised", absolute=0.1)], [Forget("generated", at_most=0.2)], shrinks=shrinks, every=1
        )
        self.model, self.stepper, self.number = Level(), State(), 0
        task: Any = Drawn()
        self.keeper = Keeper(contract, task, Sets(rows(40), rows(400), rows(400)), per_step=10)
        assert self.keeper.begin(self.model, State(), self.stepper) is None

    def step(self, level: float) -> str | None:
        self.number += 1
        with torch.no_grad():
            self.model.level.fill_(level)
        record = Record(self.number, Step(torch.zeros(2), torch.ones(1, 2)), 0.5, True)
        objectives: Any = SimpleNamespace(model=self.model)
        return self.keeper.read_if_due(record, objectives, State(), self.stepper)


def test_a_run_goes_on_from_what_is_broken_while_it_mends() -> None:
    walk = Walk()
    for level in (0.2, 0.3, 0.45):
        assert walk.step(level) is None and walk.model.level.item() == pytest.approx(level)
    assert [(look.kept, look.rolled_back) for look in walk.keeper.path] == [
        (False, False),
        (False, False),
        (True, False),
    ]
    assert walk.keeper.rollbacks == 0 and walk.stepper.shrunk == []


def test_it_goes_back_where_more_is_broken_than_before_and_every_failure_counts() -> None:
    walk = Walk(shrinks=2)
    assert walk.step(0.3) is None and walk.model.level.item() == pytest.approx(0.3)
    assert walk.step(0.2) is None and walk.model.level.item() == 0.5, "back to the original"
    assert walk.keeper.rollbacks == 1 and walk.stepper.shrunk == [(0.5, None)]
    assert walk.step(0.3) == SPENT and walk.model.level.item() == 0.5


def test_a_keeper_that_was_loaded_remembers_what_was_broken() -> None:
    walk, other = Walk(shrinks=2), Walk(shrinks=2)
    walk.step(0.3)
    other.keeper.load_state_dict(walk.keeper.state_dict())
    other.number = 1
    assert other.step(0.25) is None and other.model.level.item() == 0.5, "worse than what the other saw"
