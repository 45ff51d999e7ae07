"""Steps that are not taken: not finite, or refused."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests._toys import each_step, memorised, same, weights
from tests.loop._problems import method, pairs, sgd
from unweave.data.pairs import Pair
from unweave.loop import Progress, Record, unlearn
from unweave.objectives import Objectives
from unweave.rules import EUPMU, OFMU, Fixed, PCGrad, Rule
from unweave.rules._base import Asked, Step


def spoiled(forget: TensorDataset, retain: TensorDataset, bad: set[int]) -> Iterator[Pair]:
    """The stream with NaN in one input of the forget side of some pairs, numbered from 1."""
    for number, pair in enumerate(pairs(forget, retain), 1):
        ((inputs, labels),) = pair.forget
        inputs = inputs.clone()
        if number in bad:
            inputs[0, 0] = math.nan
        yield Pair([(inputs, labels)], pair.retain, pair.seed)


@pytest.mark.parametrize(
    "rule", [Fixed(0.1, 1.0), PCGrad(), EUPMU(dual_lr=1.0), OFMU(inner_lr=0.01)], ids=lambda r: type(r).__name__
)
def test_a_step_that_is_not_finite_is_skipped_and_counted(rule: Rule) -> None:
    model, forget, retain = memorised()
    seen: list[bool] = []

    def moved(record: Record, objectives: Objectives) -> None:
        seen.append(not same(weights(model), previous.pop()))
        previous.append(weights(model))

    previous = [weights(model)]
    result = unlearn(
        model, method(rule), spoiled(forget, retain, {2, 3, 5}), sgd(model), steps=6, callbacks=[each_step(moved)]
    )
    assert (result.steps, result.skipped, result.reason) == (3, 3, "steps used up")
    assert seen == [True, False, False, True, False, True]
    skipped = result.history[1]
    assert skipped.note == "non-finite loss or direction" and skipped.lr == 0 and not skipped.accepted
    assert all(p.isfinite().all() for p in model.parameters())
    assert all(math.isfinite(v) for v in rule.state_dict().values() if v is not None)


@pytest.mark.parametrize(
    "rule", [Fixed(), PCGrad(), OFMU(inner_lr=0.01), OFMU(inner_lr=1e30)], ids=lambda r: type(r).__name__
)
def test_a_run_that_diverges_ends_with_a_reason_and_finite_weights(rule: Rule) -> None:
    model, forget, retain = memorised()
    kept: list[list[Tensor]] = []

    def keep(record: Record, objectives: Objectives) -> None:
        if record.accepted:
            kept.append(weights(model))

    kept.append(weights(model))
    result = unlearn(
        model, method(rule), pairs(forget, retain), sgd(model, 1e30), steps=50, callbacks=[each_step(keep)]
    )
    assert result.skipped == 5 and len(result.history) < 10
    assert result.reason.startswith("diverged: 5 steps in a row")
    assert "step='trust'" in result.reason
    assert all(p.isfinite().all() for p in model.parameters())
    assert same(weights(model), kept[-1]), "the weights are as before the steps that were skipped"


def test_skipped_steps_must_be_in_a_row_to_end_the_run() -> None:
    model, forget, retain = memorised()
    result = unlearn(model, method(), spoiled(forget, retain, {1, 2, 3, 4, 6, 7, 8, 9}), sgd(model), steps=11)
    assert (result.skipped, result.steps, result.reason) == (8, 3, "steps used up")


def test_a_skipped_step_leaves_no_running_statistics() -> None:
    model, forget, retain = memorised()
    model = nn.Sequential(nn.BatchNorm1d(8), model).train()
    result = unlearn(model, method(), spoiled(forget, retain, {2}), sgd(model), steps=3)
    assert (result.steps, result.skipped) == (2, 1)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert int(model[0].num_batches_tracked) == 4  # two good pairs of two sides


def test_a_rule_that_refuses_ends_the_run_where_it_is() -> None:
    model, forget, retain = memorised()

    class Refusing(Fixed):
        def backward(self, objectives: Asked) -> Step:
            return Step(super().backward(objectives).losses, torch.ones(1, 2), stop="infeasible: too hard")

    result = unlearn(model, method(Refusing()), pairs(forget, retain), sgd(model), steps=9)
    assert (result.reason, result.steps, len(result.history)) == ("infeasible: too hard", 0, 1)
    assert same(weights(model), weights(memorised()[0])) and all(p.grad is None for p in model.parameters())


def test_a_resumed_run_counts_on_also_the_failures_in_a_row() -> None:
    model, forget, retain = memorised()
    stream, progress = spoiled(forget, retain, {2, 3, 4, 5, 6}), Progress()
    first = unlearn(model, method(), stream, sgd(model), steps=3, progress=progress)
    assert (first.reason, progress) == ("steps used up", Progress(made=3, skipped=2, failures=2))
    second = unlearn(model, method(), stream, sgd(model), progress=progress)
    assert second.reason.startswith("diverged: 5 steps") and second.progress == Progress(6, 5, 0, 5)
    assert [record.number for record in second.history] == [4, 5, 6]
