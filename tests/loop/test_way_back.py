"""A run that repairs goes back to where it was just forgotten, between two looks."""

from __future__ import annotations

import copy

import pytest
import torch

from tests._toys import each_step, loss, memorised
from tests.contract._runs import ascent
from tests.trust._problems import Vector
from unweave import loop, places
from unweave.data.pairs import Pair, Pairs
from unweave.loop import Record, Result
from unweave.methods import Method
from unweave.objectives import Objectives
from unweave.parameters import Mask
from unweave.repair import Repair
from unweave.rules import Fixed
from unweave.trust import TrustRegion


def pushed(model: Vector, repair: Repair) -> Result:
    """Ten steps at most of .05 along the first number, over a retain loss that nothing changes."""
    constant = lambda m, batch: (1.0 + 0.0 * m.theta[0]).expand(len(batch))  # noqa: E731
    method = Method(lambda m, batch: -m.theta[:1].expand(len(batch)), constant, Fixed(), "")
    pairs = [Pair([torch.zeros(1)], [torch.zeros(1)])] * 10
    step = loop.OptimizerStep(torch.optim.SGD([model.theta], 0.05))
    return loop.unlearn(model, method, pairs, step, steps=10, repair=repair)


@pytest.mark.parametrize("target", [0.04, 0.07, 0.1, 0.17])
def test_a_push_goes_back_to_where_it_was_just_forgotten(target: float) -> None:
    """Looks at 0, .1, .2: of the five points that two halvings of a way tell apart the first at the target or past
    it; the looks at them leave no trace, and the repair, which has nothing to do on a flat loss, leaves it there."""
    model, asked = Vector(0.0, 2.0), list[float]()

    def met(record: Record) -> str | None:
        asked.append(model.theta[0].item())
        return "enough" if asked[-1] >= target else None

    result = pushed(model, Repair(met=met, every=2))
    before = 0.1 * (target > 0.1)
    points = [before + 0.1 * share / 4 for share in range(5)]
    assert model.theta[0].item() == pytest.approx(min(x for x in points if x >= target - 1e-9), abs=1e-6)
    looks = [0.1, 0.2][: 1 + (target > 0.1)]
    assert asked[: len(looks)] == pytest.approx(looks) and len(asked) - len(looks) in (2, 3)
    assert asked[-1] == model.theta[0].item(), "the last look is at what is left"
    assert (result.reason, len(result.history)) == ("paid back", 2 * len(looks))


def test_a_criterion_that_does_not_look_at_the_weights_takes_none_back() -> None:
    """A number of steps, or what the record says: asked again it says the same, and the push is not to be lost."""
    for criterion in (lambda record: record.number >= 6, lambda record: float(record.step.losses[0]) < -0.1):
        ends, asked = list[Vector](), []
        for halvings in (0, 2):
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(places, "HALVINGS", halvings)
                model = Vector(0.0, 2.0)
                met = lambda record: asked.append(record.number) or ("enough" if criterion(record) else None)  # noqa: E731,B023
                pushed(model, Repair(met=met, every=2))
            ends.append(model)
        assert ends[1].theta[0].item() > 0.1 and ends[1].theta.allclose(ends[0].theta, rtol=1e-12, atol=0)
        assert len(asked) == len(set(asked)) * 2 + 5, "at four points, and where it stays"


def test_it_goes_back_at_every_look_that_finds_it_forgotten_after_one_that_did_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a push ends, and where what was lost is won back; at all other looks nothing moves it."""
    model, forget, retain = memorised()
    found = [False, True, True, False, False, True, False, True, True]
    said, looks, back = iter(found), [], []

    def met(record: Record) -> str | None:
        looks.append(next(said))
        return "enough" if looks[-1] else None

    monkeypatch.setattr(Repair, "level", lambda repair: 99.0)
    monkeypatch.setattr(places.Shelf, "back", lambda shelf, tensors, found: back.append(len(looks)))
    pairs, repair = Pairs(forget, retain, forget_batch=15), Repair(met=met, every=1)
    loop.unlearn(model, ascent(), pairs, TrustRegion(), steps=len(found), repair=repair)
    assert looks == found and back == [2, 6, 8]


def test_a_push_of_a_model_goes_back_and_moves_nothing_that_a_mask_holds() -> None:
    model, forget, retain = memorised()
    whole = torch.cat([p.detach().flatten() for p in model.parameters()])
    mask = Mask(tuple(torch.arange(p.numel()).reshape(p.shape) % 2 == 0 for p in model.parameters()))
    free = torch.cat([m.flatten() for m in mask.tensors])
    ends = {}
    for halvings in (0, 2):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(places, "HALVINGS", halvings)
            moving = copy.deepcopy(model)
            pairs = Pairs(forget, retain, forget_batch=15, retain_batch=70)
            met = lambda record, moving=moving: "enough" if loss(moving, forget) > 0.5 else None  # noqa: E731
            repair = Repair(met=met, mask=mask)
            region = TrustRegion(mask=mask)
            end = lambda record, repair=repair: "repairs now" if repair.phase == "repair" else None  # noqa: E731
            result = loop.unlearn(moving, ascent(), pairs, region, steps=200, repair=repair, stop=[end])
        ends[halvings] = torch.cat([p.detach().flatten() for p in moving.parameters()])
        assert result.reason == "repairs now" and loss(moving, forget) > 0.5
    far, near = ends[0] - whole, ends[2] - whole
    assert not far[~free].any() and not near[~free].any() and far[free].any()
    assert float(near.norm()) < float(far.norm())


def test_the_level_is_that_of_the_weights_as_they_are() -> None:
    """A keeper prices every state on the way back by it, all after one step."""
    model, method = Vector(0.0, 2.0), Method(None, lambda m, batch: m.theta[:1].expand(len(batch)), Fixed(), "")
    pair, found = Pair([torch.zeros(1)], [torch.zeros(1)]), list[float]()
    repair = Repair(steps=100, sample=pair)

    def listen(record: Record, objectives: Objectives) -> None:
        for value in (0.5, 0.25):
            model.theta.data[0] = value
            found.append(repair.level())

    step = loop.OptimizerStep(torch.optim.SGD([model.theta], 0.05))
    loop.unlearn(model, method, [pair], step, steps=1, repair=repair, callbacks=[each_step(listen)])
    assert found == [0.5, 0.25]
