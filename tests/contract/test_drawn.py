"""Clauses on what a model draws: what they say, what they read, and what a reading costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unweave.contract import Contract, Forget, Keep
from unweave.contract.keeper import DRAWN_EVERY, Keeper
from unweave.contract.observer import Observer, chosen
from unweave.contract.sets import Sets, check
from unweave.errors import ConfigurationError
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
