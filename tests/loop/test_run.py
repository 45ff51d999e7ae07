"""What a run records, how it ends, and what clip, mask and schedule do."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch.utils.data import TensorDataset

from tests._toys import each_step, memorised, same, weights
from tests.loop._problems import method, pairs, sgd, task
from unweave.loop import Record, Result, unlearn
from unweave.losses import Ascent
from unweave.objectives import Objectives
from unweave.parameters import Mask
from unweave.rules import Fixed, PCGrad
from unweave.rules._base import Asked


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


def test_callbacks_see_every_record_and_the_first_reason_ends_the_run() -> None:
    model, forget, retain = memorised()
    seen: list[int] = []
    result = unlearn(
        model,
        method(),
        pairs(forget, retain),
        sgd(model),
        callbacks=[each_step(lambda record, objectives: seen.append(record.number))],
        stop=[lambda record: None, lambda record: "enough" if record.number == 3 else None, lambda record: "never"][:2],
        steps=9,
    )
    assert (result.reason, seen, result.steps) == ("enough", [1, 2, 3], 3)


def test_an_interrupt_returns_what_was_computed() -> None:
    model, forget, retain = memorised()

    def interrupt(record: Record, objectives: Objectives) -> None:
        if record.number == 3:
            raise KeyboardInterrupt

    result = unlearn(model, method(), pairs(forget, retain), sgd(model), callbacks=[each_step(interrupt)], steps=9)
    assert (result.reason, result.steps) == ("interrupted", 3)
    assert result.model is model and result.seconds > 0 and all(p.grad is None for p in model.parameters())


def test_any_other_error_is_the_callers() -> None:
    model, forget, retain = memorised()

    def fail(record: Record, objectives: Objectives) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        unlearn(model, method(), pairs(forget, retain), sgd(model), callbacks=[each_step(fail)], steps=2)
