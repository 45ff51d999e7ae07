"""The loop and the papers' way of stepping: what is skipped, what is clipped, when it ends, what it returns."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests._toys import loss, memorised, same, weights
from unweave.data.pairs import Pair, Pairs
from unweave.loop import Record, Result, unlearn
from unweave.losses import Ascent
from unweave.methods import METHODS, Method
from unweave.objectives import Objectives
from unweave.parameters import Mask
from unweave.rules import EUPMU, OFMU, Fixed, PCGrad, Rule
from unweave.rules._base import Asked, Step
from unweave.tasks import Vision

task = Vision()


def pairs(forget: TensorDataset, retain: TensorDataset, seed: int = 0) -> Pairs:
    return Pairs(forget, retain, forget_batch=10, retain_batch=30, seed=seed)


def method(rule: Rule | None = None) -> Method:
    return Method(Ascent(task.nll), task.nll, rule or Fixed(0.1, 1.0), "ours")


def sgd(model: nn.Module, lr: float = 0.05, **options: float) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr, **options)


# How a row is built for somebody who owns the loop: two rules divide by, or go, a step length that nobody tells them.
OWN_LOOP = {"eupmu": {"dual_lr": 1.0}, "ofmu": {"inner_lr": 0.01}}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_five_lines_of_a_loop_of_ones_own(name: str) -> None:
    if "TorchJD" in inspect.getsource(METHODS[name]):
        pytest.importorskip("torchjd")
    model, forget, retain = memorised()
    made = METHODS[name](task, model, **OWN_LOOP.get(name, {}))
    rule = made.rule
    if isinstance(rule, EUPMU):
        rule.lr = 0.02
    objectives, optimizer = Objectives(model, (made.forget, made.retain)), sgd(model, 0.02)
    start, before = rule.state_dict(), loss(model, forget)
    for pair in islice(pairs(forget, retain), 6):
        optimizer.zero_grad()
        step = rule.backward(objectives.at(pair))
        optimizer.step()
        rule.observe(objectives)
        assert step.losses.isfinite().all() and step.weights.isfinite().all() and step.stop is None
    assert all(p.isfinite().all() for p in model.parameters()) and not same(weights(model), weights(memorised()[0]))
    assert (rule.state_dict() != start) == bool(start.keys() - {"strikes"}), "a state that does not move tests nothing"
    if name != "finetune":
        assert loss(model, forget) > before


def test_an_own_loop_is_told_what_is_missing() -> None:
    model, forget, retain = memorised()
    pair = next(iter(pairs(forget, retain)))
    for rule, message in ((EUPMU(), "EUPMU\\(lr=...\\)"), (OFMU(), "give inner_lr, or set objectives.lr")):
        objectives = Objectives(model, (Ascent(task.nll), task.nll)).at(pair)
        with pytest.raises(Exception, match=message):
            rule.backward(objectives)
            rule.observe(objectives)


def test_the_loop_is_those_five_lines() -> None:
    """Bit for bit; so the loop adds nothing that an own loop would miss."""
    model, forget, retain = memorised()
    own, rule = memorised()[0], PCGrad()
    objectives, optimizer = Objectives(own, (Ascent(task.nll), task.nll)), sgd(own, momentum=0.9)
    for pair in islice(pairs(forget, retain), 5):
        optimizer.zero_grad()
        rule.backward(objectives.at(pair))
        optimizer.step()
        rule.observe(objectives)
    unlearn(model, method(PCGrad()), pairs(forget, retain), sgd(model, momentum=0.9), steps=5)
    assert same(weights(model), weights(own)) and not same(weights(own), weights(memorised()[0]))


def test_result_and_records() -> None:
    model, forget, retain = memorised()
    result = unlearn(model, method(PCGrad()), islice(pairs(forget, retain), 4), sgd(model))
    assert isinstance(result, Result) and result.model is model
    assert (result.reason, result.steps, result.skipped, len(result.history)) == ("pairs exhausted", 4, 0, 4)
    assert [r.number for r in result.history] == [1, 2, 3, 4]
    assert result.seconds > 0 and all(p.grad is None for p in model.parameters())
    for record in result.history:
        assert record.accepted and record.lr == 0.05 and record.note == "" and record.radius is None
        assert record.predicted is not None and record.step.gramian is not None
        expected = -0.05 * record.step.gramian[0] @ record.step.weights[0]
        torch.testing.assert_close(record.predicted, expected)


def test_the_prediction_is_what_a_small_step_does() -> None:
    model, forget, retain = memorised()
    model.double()
    forget, retain = (TensorDataset(d.tensors[0].double(), d.tensors[1]) for d in (forget, retain))
    pair = next(iter(pairs(forget, retain)))
    before = Objectives(model, (Ascent(task.nll), task.nll)).at(pair).losses()
    (record,) = unlearn(model, method(PCGrad()), [pair], sgd(model, 1e-6)).history
    after = Objectives(model, (Ascent(task.nll), task.nll)).at(pair).losses()
    torch.testing.assert_close(after - before, record.predicted, rtol=1e-3, atol=0)


def test_steps_ends_the_run_and_leaves_the_stream_where_it_is() -> None:
    model, forget, retain = memorised()
    stream = pairs(forget, retain)
    result = unlearn(model, method(), stream, sgd(model), steps=3)
    assert (result.reason, result.steps) == ("steps used up", 3)
    assert stream.state_dict()["drawn"] == 3, "a pair that is drawn and not used is lost to a run that goes on"
    assert unlearn(model, method(), stream, sgd(model), steps=0).history == []


def test_going_on_is_as_one_run() -> None:
    whole, forget, retain = memorised()
    unlearn(whole, method(), pairs(forget, retain), sgd(whole), steps=5)
    parts, stream = memorised()[0], pairs(forget, retain)
    for steps in (3, 2):
        unlearn(parts, method(), stream, sgd(parts), steps=steps)
    assert same(weights(whole), weights(parts))


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
    result = unlearn(model, method(rule), spoiled(forget, retain, {2, 3, 5}), sgd(model), steps=6, monitors=[moved])
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
    result = unlearn(model, method(rule), pairs(forget, retain), sgd(model, 1e30), steps=50, monitors=[keep])
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


def test_the_clip_acts_on_the_direction() -> None:
    """Not on the two gradients that it is made of: they nearly cancel here, and neither is cut."""
    model, forget, retain = memorised()
    before, pair = weights(model), next(iter(pairs(forget, retain)))
    objectives = Objectives(model, (Ascent(task.nll), task.nll)).at(pair)
    Fixed(1.0, 3.0).backward(objectives)
    direction = [g.clone() for g in objectives.direction()]
    length = float(torch.cat([d.flatten() for d in direction]).norm())
    count = 0
    for clip, factor in ((2 * length, 1.0), (0.25 * length, 0.25)):
        objectives.restore(before)
        (record,) = unlearn(model, method(Fixed(1.0, 3.0)), [pair], sgd(model, 0.1), clip=clip).history
        for p, b, d in zip(weights(model), before, direction, strict=True):
            torch.testing.assert_close(p, b - 0.1 * factor * d)
        assert record.lr == pytest.approx(0.1 * factor)
        count += 1
    assert count == 2


def test_the_clip_measures_what_the_mask_leaves() -> None:
    model, forget, retain = memorised()
    before, pair = weights(model), next(iter(pairs(forget, retain)))
    mask = Mask(tuple(torch.arange(p.numel()).view_as(p) % 7 == 0 for p in before))
    unlearn(model, method(), [pair], sgd(model, 1.0), clip=1e-4, mask=mask)
    moved = [a - b for a, b in zip(weights(model), before, strict=True)]
    assert float(torch.cat([m.flatten() for m in moved]).norm()) == pytest.approx(1e-4, rel=1e-2)
    assert all(not m[~allowed].any() for m, allowed in zip(moved, mask.tensors, strict=True))


def test_weights_outside_the_mask_stay_bit_for_bit() -> None:
    model, forget, retain = memorised()
    before = weights(model)
    mask = Mask(tuple(torch.rand_like(p) < 0.3 for p in before))
    unlearn(model, method(PCGrad()), pairs(forget, retain), sgd(model, momentum=0.9), steps=4, mask=mask)
    for after, b, allowed in zip(weights(model), before, mask.tensors, strict=True):
        assert after[~allowed].equal(b[~allowed])
        assert not after[allowed].equal(b[allowed]) or not allowed.any()


def test_the_scheduler_is_stepped_once_a_step_and_the_record_has_its_rate() -> None:
    model, forget, retain = memorised()
    optimizer = sgd(model, 0.08)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    result = unlearn(model, method(), pairs(forget, retain), optimizer, scheduler=scheduler, steps=5)
    assert [r.lr for r in result.history] == [0.08, 0.08, 0.04, 0.04, 0.02]


def test_the_rule_is_told_the_length_of_the_step() -> None:
    """EUPMU divides by it: before the step the scheduled rate, after it what the clip left."""
    model, forget, retain = memorised()
    told: list[float | None] = []

    class Listening(Fixed):
        def observe(self, objectives: Asked) -> None:
            told.append(objectives.lr)

    result = unlearn(model, method(Listening()), pairs(forget, retain), sgd(model), clip=1e-3, steps=3)
    assert told == [r.lr for r in result.history] and all(0 < lr < 0.05 for lr in told if lr is not None)


def test_monitors_see_every_record_and_the_first_reason_ends_the_run() -> None:
    model, forget, retain = memorised()
    seen: list[int] = []
    result = unlearn(
        model,
        method(),
        pairs(forget, retain),
        sgd(model),
        monitors=[lambda record, objectives: seen.append(record.number)],
        stop=[lambda record: None, lambda record: "enough" if record.number == 3 else None, lambda record: "never"][:2],
        steps=9,
    )
    assert (result.reason, seen, result.steps) == ("enough", [1, 2, 3], 3)


def test_an_interrupt_returns_what_was_computed() -> None:
    model, forget, retain = memorised()

    def interrupt(record: Record, objectives: Objectives) -> None:
        if record.number == 3:
            raise KeyboardInterrupt

    result = unlearn(model, method(), pairs(forget, retain), sgd(model), monitors=[interrupt], steps=9)
    assert (result.reason, result.steps) == ("interrupted", 3)
    assert result.model is model and result.seconds > 0 and all(p.grad is None for p in model.parameters())


def test_any_other_error_is_the_callers() -> None:
    model, forget, retain = memorised()

    def fail(record: Record, objectives: Objectives) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        unlearn(model, method(), pairs(forget, retain), sgd(model), monitors=[fail], steps=2)
