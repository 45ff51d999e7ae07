"""An optimizer as a stepper: shorter steps, and going back to where it was."""

from __future__ import annotations

import pytest
import torch

from tests._toys import memorised, same, weights
from tests.loop._problems import method, pairs, sgd
from unweave.loop import OptimizerStep, unlearn


def test_shrink_acts_on_every_group_and_on_the_schedule() -> None:
    model, forget, retain = memorised()
    first, *rest = model.parameters()
    optimizer = torch.optim.SGD([{"params": [first], "lr": 0.1}, {"params": rest}], lr=0.02)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    stepper = OptimizerStep(optimizer, scheduler)
    stepper.shrink(0.5)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.05, 0.01])
    result = unlearn(model, method(), pairs(forget, retain), stepper, steps=3)
    assert [r.lr for r in result.history] == pytest.approx([0.05] * 3), "the schedule does not undo it"


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_going_back_restores_momentum(optimizer: type[torch.optim.Optimizer]) -> None:
    model, forget, retain = memorised()
    options = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    stepper = OptimizerStep(optimizer(model.parameters(), lr=0.01, **options))
    stream = pairs(forget, retain)
    unlearn(model, method(), stream, stepper, steps=3)
    there, state, place = weights(model), stepper.state_dict(), stream.state_dict()
    unlearn(model, method(), stream, stepper, steps=2)
    once = weights(model)
    with torch.no_grad():
        for p, value in zip(model.parameters(), there, strict=True):
            p.copy_(value)
    stepper.load_state_dict(state)
    stream.load_state_dict(place)
    unlearn(model, method(), stream, stepper, steps=2)
    assert same(weights(model), once), "the state that was given out is not the one that moves on"


def test_a_schedule_goes_back_too() -> None:
    optimizer = sgd(memorised()[0], 0.08)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    stepper = OptimizerStep(optimizer, scheduler)
    state = stepper.state_dict()
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.04]
    stepper.load_state_dict(state)
    assert scheduler.last_epoch == 0 and optimizer.param_groups[0]["lr"] == 0.08
