"""How long a step is."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests._toys import loss, memorised, same, weights
from tests.trust._problems import Vector, flat, on, pairs, task
from unweave import trust
from unweave.errors import ConfigurationError
from unweave.loop import Result, unlearn
from unweave.losses import Ascent
from unweave.methods import Method
from unweave.objectives import RETAIN
from unweave.parameters import Mask
from unweave.rules import HAMU, OFMU, Fixed, PCGrad, Rule
from unweave.trust import TrustRegion


def run(rule: Rule, region: TrustRegion, steps: int = 20, **options: Sequence[Callable[..., None]]) -> Result:
    model, forget, retain = memorised()
    return unlearn(
        model, Method(Ascent(task.nll), task.nll, rule, ""), pairs(forget, retain), region, steps=steps, **options
    )


def test_the_first_step_is_a_share_of_the_parameters_norm() -> None:
    count = 0
    for size in (1e-6, 1.0, 1e6):
        for start in (1e-4, 1e-2):
            model = Vector(3 * size, 4 * size)
            (record,) = on(model, lambda t: t[0], flat, Fixed(7.0, 1.0), TrustRegion(start=start)).history
            assert record.radius == pytest.approx(5 * size * start)
            assert model.theta.tolist() == pytest.approx([3 * size - 5 * size * start, 4 * size], rel=1e-12)
            assert record.lr * 7 == pytest.approx(record.radius)
            count += 1
    assert count == 6


def test_the_length_of_the_direction_does_not_matter() -> None:
    """Only its direction: weights a thousand times as large give the same run."""
    one, other = (run(Fixed(0.05 * scale, scale), TrustRegion()) for scale in (1.0, 1024.0))
    assert one.steps == other.steps == 20
    for a, b in zip(weights(one.model), weights(other.model), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_radius_grows_by_a_factor_up_to_its_largest() -> None:
    model, region = Vector(1.0, 0.0), TrustRegion()
    history = on(model, lambda t: -t[1], flat, Fixed(), region, steps=40).history
    radii = [r.radius for r in history]
    assert radii[:3] == pytest.approx([trust.START, trust.START * trust.GROW, trust.START * trust.GROW**2], rel=1e-3)
    assert region.radius == pytest.approx(trust.LARGEST, rel=1e-6)
    assert max(radii) <= trust.LARGEST * float(model.theta.detach().norm())


@pytest.mark.parametrize(("curvature", "held"), [(0.0, True), (0.9, True), (1.1, False), (2.0, False)])
def test_the_radius_grows_faster_where_the_first_order_held(curvature: float, held: bool) -> None:
    """Slope -1, that curvature, length 1: predicted -1 and -1, realised -1 + curvature / 2; the excess is at most a
    quarter of 2 below curvature 1."""
    model, region = Vector(0.0), TrustRegion(budget=100.0, start=0.01)
    region.size = 100.0

    def retain(t: torch.Tensor) -> torch.Tensor:
        return -t[0] + curvature * t[0] ** 2 / 2

    (record,) = on(model, lambda t: -t[0], retain, HAMU("forget"), region).history
    assert record.accepted and record.radius == pytest.approx(1.0)
    assert region.radius == pytest.approx(trust.GROW if held else trust.SLOWER)


def test_the_radius_stays_where_the_rise_is_neither_small_nor_large() -> None:
    """budget 1: the allowance is 0.5; a rise between 0.25 and 0.5 is right, and is not grown on."""
    model, region = Vector(1.0), TrustRegion(budget=1.0, start=0.01)
    (record,) = on(model, lambda t: -t[0], lambda t: 30 * (t[0] - 1.0), Fixed(1.0, 0.0), region).history
    assert record.accepted and region.radius == record.radius == pytest.approx(0.01)


def test_a_predicted_rise_is_shortened_before_the_step() -> None:
    """Two opposed gradients, the forget side's nine times as long: PCGrad's step is nearly all cost."""

    @dataclass
    class Both(PCGrad):
        def weights(self, gramian: Tensor) -> Tensor:
            return torch.ones(1, 2, dtype=gramian.dtype)

    model = Vector(1.0)
    region = TrustRegion(start=0.05, budget=1.0)
    (record,) = on(model, lambda t: -900 * t[0], lambda t: 100 * t[0], Both(), region).history
    assert record.predicted is not None
    assert float(record.predicted[RETAIN]) == pytest.approx(trust.SHARE * 1.0)  # 0.05 would have predicted 5
    assert record.realised is not None and record.realised.tolist() == pytest.approx(record.predicted.tolist())
    assert record.accepted and model.theta.item() == pytest.approx(1.005)


def test_a_budget_of_ones_own() -> None:
    narrow, wide = (run(Fixed(), TrustRegion(budget=budget), steps=60).model for budget in (0.005, 0.5))
    _, forget, retain = memorised()
    assert loss(narrow, retain) < 0.05 < loss(wide, retain)
    assert loss(narrow, forget) < loss(wide, forget)


@pytest.mark.parametrize("rule", [lambda: Fixed(0.5, 1.0), PCGrad, OFMU], ids=["fixed", "pcgrad", "ofmu"])
def test_a_saved_state_goes_on_bit_for_bit(rule: Callable[[], Rule]) -> None:
    model, forget, retain = memorised()
    sides, region, first = (Ascent(task.nll), task.nll), TrustRegion(), rule()
    stream = pairs(forget, retain)
    unlearn(model, Method(*sides, first, ""), stream, region, steps=12)
    second, other, parts, later = TrustRegion(), rule(), copy.deepcopy(model), pairs(forget, retain)
    second.load_state_dict(region.state_dict())
    other.load_state_dict(first.state_dict())
    later.load_state_dict(stream.state_dict())
    assert region.state_dict() != TrustRegion().state_dict()
    assert all(isinstance(v, (int, float)) for v in region.state_dict().values())
    for m, a, s, r in ((model, first, stream, region), (parts, other, later, second)):
        unlearn(m, Method(*sides, a, ""), s, r, steps=5)
    assert same(weights(model), weights(parts)) and region.state_dict() == second.state_dict()


def test_the_inner_loop_of_ofmu_goes_the_radius() -> None:
    model, path = Vector(3.0, 4.0), []
    rule = OFMU(inner_steps=4, similarity_weight=0.0, penalty=0.0)
    on(model, lambda t: path.append(t.detach().clone()) or -t[0], flat, rule, TrustRegion(start=0.01))
    assert float(path[4][0] - 3.0) == pytest.approx(0.05) and float(path[1][0] - 3.0) == pytest.approx(0.0125)


def test_weights_outside_the_mask_stay_bit_for_bit() -> None:
    model, forget, retain = memorised()
    before = weights(model)
    mask = Mask(tuple(torch.arange(p.numel()).view_as(p) % 3 == 0 for p in before))
    method = Method(Ascent(task.nll), task.nll, Fixed(0.05, 1.0), "")
    result = unlearn(model, method, pairs(forget, retain), TrustRegion(mask=mask), steps=5)
    moved = [a - b for a, b in zip(weights(model), before, strict=True)]
    assert result.steps == 5 and all(not m[~allowed].any() for m, allowed in zip(moved, mask.tensors, strict=True))
    assert any(m.any() for m in moved)
    model = memorised()[0]
    (record,) = unlearn(model, method, pairs(forget, retain), TrustRegion(mask=mask), steps=1).history
    length = torch.cat([(a - b).flatten() for a, b in zip(weights(model), before, strict=True)]).norm()
    assert float(length) == pytest.approx(record.radius, rel=1e-3), "the radius is the length of what is left"


def test_all_zero_parameters_can_move() -> None:
    model = Vector(0.0, 0.0)
    on(model, lambda t: -t[0], flat, Fixed(), TrustRegion(), steps=5)
    assert model.theta[0] > 0


@pytest.mark.parametrize(
    "wrong", [{"budget": 0.0}, {"budget": -1.0}, {"budget": math.nan}, {"start": 0.0}, {"start": 1.0}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigurationError, match=f"^{name} must be"):
        TrustRegion(**wrong)


def test_shrunk_it_does_not_grow_back() -> None:
    model, region = Vector(1.0, 0.0), TrustRegion()
    on(model, lambda t: -t[1], flat, Fixed(), region, steps=6)
    reached = region.radius
    assert reached is not None
    tolerated = region.tolerated
    region.shrink(0.5, reach=0.8 * reached)
    assert region.tolerated == pytest.approx(0.5 * tolerated)
    assert region.radius == region.cap == pytest.approx(0.4 * reached)
    assert {r.radius for r in on(model, lambda t: -t[1], flat, Fixed(), region, steps=5).history} == {region.cap}
    region.shrink(0.5)
    assert region.cap == region.radius == pytest.approx(0.2 * reached)


def test_shrunk_before_the_first_step_it_begins_shorter() -> None:
    model, region = Vector(1.0, 0.0), TrustRegion(start=0.01)
    region.shrink(0.5, reach=0.01)
    (record,) = on(model, lambda t: -t[1], flat, Fixed(), region).history
    assert record.radius == region.cap == pytest.approx(0.005)
