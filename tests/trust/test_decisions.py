"""Every decision of the region on numbers that are exact in binary: at its threshold, beside it, at other scales."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from tests._toys import each_step
from tests.trust._problems import Field, Vector, flat, on
from unweave import trust
from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError
from unweave.loop import Record, Result, unlearn
from unweave.methods import Method
from unweave.objectives import RETAIN, Objectives
from unweave.parameters import Mask
from unweave.rules import Fixed, PCGrad, Rule, Step
from unweave.rules._base import Asked
from unweave.trust import TrustRegion


def rising(slope: float, budget: float, start: float = 2**-5) -> tuple[Record, TrustRegion]:
    """One step of length `start` from 1, up a retain loss of that slope."""
    model, region = Vector(1.0), TrustRegion(budget=budget, start=start)
    (record,) = on(model, lambda t: -t[0], lambda t: slope * (t[0] - 1.0), Fixed(1.0, 0.0), region).history
    return record, region


@pytest.mark.parametrize("budget", [1.0, 0.5, 4.0])
def test_a_rise_of_the_allowance_is_taken_and_no_more(budget: float) -> None:
    """Half the budget is the allowance: exactly that much is accepted, a little more is halved."""
    allowance = budget / 2
    record, region = rising(32 * allowance, budget)
    assert record.accepted and record.lr == 2**-5 and region.radius == 2**-5
    record, region = rising(33 * allowance, budget)
    assert record.accepted and record.lr == 2**-6 and region.radius == 2**-6


@pytest.mark.parametrize("budget", [1.0, 0.5, 4.0])
def test_the_radius_grows_below_half_the_allowance(budget: float) -> None:
    half = budget / 4
    assert rising(32 * half, budget)[1].radius == 2**-5
    for share in (0.97, 0.7, 0.0, -1.0):
        assert rising(32 * half * share, budget)[1].radius == pytest.approx(1.3 * 2**-5)


def test_the_radius_ends_at_a_twentieth_of_the_parameters() -> None:
    TrustRegion(start=0.05)
    with pytest.raises(ConfigurationError, match=r"0\.05"):
        TrustRegion(start=0.051)
    assert rising(0.0, 1.0, start=0.05)[1].radius == 0.05


def test_the_default_budget_before_and_after_the_first_step() -> None:
    region = TrustRegion()
    assert region.tolerated == 0.02
    on(Vector(1.0), lambda t: -t[0], lambda t: 0 * t[0] + 4.0, Fixed(), region)
    assert region.tolerated == pytest.approx(0.02 + 0.05 * 4)


def stream(model: Vector, region: TrustRegion, losses: list[float], rule: Rule | None = None) -> Result:
    """Steps on which the retain loss is what the pair says, whatever the weights."""
    method = Method(
        lambda m, batch: -m.theta[:1].expand(len(batch)),
        lambda m, batch: batch + 0 * m.theta[0],
        rule or Fixed(),
        "",
    )
    return unlearn(model, method, [Pair([torch.zeros(1)], [torch.tensor([loss])]) for loss in losses], region)


def test_three_steps_make_the_starting_level_and_a_running_mean_the_present_one() -> None:
    losses, region = [2.0, 4.0, 6.0, 9.0, 1.0], TrustRegion(budget=math.inf)
    stream(Vector(1.0), region, losses)
    assert region.origin == pytest.approx(4.0) and region.seen == 5
    level = losses[0]
    for loss in losses[1:]:
        level = 0.7 * level + 0.3 * loss
    assert region.level == pytest.approx(level)


def test_a_starting_level_of_nothing_is_a_level() -> None:
    """A retain loss of exactly 0: the budget counts from there."""
    region = TrustRegion(budget=0.125)
    result = stream(Vector(1.0), region, [0.0, 0.0, 0.0, 0.5, 0.5, 0.5])
    assert region.origin == 0.0
    assert [r.note for r in result.history] == ["", "", "", "", "restoration", "restoration"]


@dataclass
class Noting(Fixed):
    """What the region tells a rule before and after a step."""

    before: list[tuple[float | None, float | None]] = field(default_factory=list, init=False)
    after: list[float | None] = field(default_factory=list, init=False)

    def backward(self, objectives: Asked) -> Step:
        self.before.append((objectives.lr, objectives.radius))
        return super().backward(objectives)

    def observe(self, objectives: Asked) -> None:
        self.after.append(objectives.lr)


def test_a_rule_is_told_the_radius_before_and_the_length_after() -> None:
    model, rule = Vector(1.0), Noting(4.0, 0.0)
    records = on(model, lambda t: -t[0], flat, rule, TrustRegion(start=2**-6), steps=2).history
    assert rule.before == [(0.0, record.radius) for record in records]
    assert rule.after == [record.lr for record in records] and rule.after[0] == 2**-8


def test_a_step_leaves_no_gradient_behind() -> None:
    model = Vector(1.0)
    losses = (lambda m, batch: -m.theta.expand(len(batch)), lambda m, batch: m.theta.expand(len(batch)))
    objectives = Objectives(model, losses).at(Pair([torch.zeros(1)], [torch.zeros(1)]))
    assert TrustRegion().take(1, Fixed(), objectives).accepted and model.theta.grad is None


def test_a_direction_of_length_zero_is_a_step_of_length_zero() -> None:
    model = Vector(1.0)
    (record,) = on(model, flat, flat, Fixed(), TrustRegion()).history
    assert record.accepted and record.lr == 0.0 and model.theta.item() == 1.0


@dataclass
class Own(Fixed):
    """A rule with a step length, and perhaps a reason to stop."""

    length: float | None = None
    why: str | None = None

    def backward(self, objectives: Asked) -> Step:
        step = super().backward(objectives)
        return Step(step.losses, step.weights, lr=self.length, stop=self.why)


def test_a_rules_own_length_is_taken_as_it_is() -> None:
    model = Vector(1.0)
    (record,) = on(model, lambda t: -t[0], flat, Own(1.0, 0.0, 0.25), TrustRegion()).history
    assert record.lr == 0.25 and model.theta.item() == 1.25


def test_a_rules_reason_to_stop_is_the_one_that_is_given() -> None:
    for start in (1e-3, 1e-9):  # below 1e-8 the region has a reason of its own
        (record,) = on(Vector(1.0), lambda t: -t[0], flat, Own(why="mine"), TrustRegion(start=start)).history
        assert record.note == "mine" and not record.accepted and record.lr == 0.0
    (record,) = on(Vector(1.0), lambda t: -t[0], flat, Fixed(), TrustRegion(start=1e-9)).history
    assert record.note.startswith("hard: no step, however small") and record.lr == 0.0


def test_all_zero_parameters_begin_as_if_of_length_one() -> None:
    model = Vector(0.0, 0.0)
    (record,) = on(model, lambda t: -t[0], flat, Fixed(), TrustRegion(start=2**-6)).history
    assert record.radius == 2**-6


def test_a_retain_loss_that_is_no_number_is_not_stepped_on() -> None:
    """Its gradient is finite, so only the loss tells."""
    model, region = Vector(1.0), TrustRegion()
    (record,) = stream(model, region, [math.nan]).history
    assert record.note == "non-finite loss or direction" and record.lr == 0.0 and not record.accepted
    assert model.theta.item() == 1.0 and region.level is None


def test_a_loss_that_no_halving_makes_finite_is_said() -> None:
    model = Vector(1.0)
    ends = lambda t: torch.where(t.detach()[0] > 1.0, math.inf, 0.0) - t[0]  # noqa: E731
    (record,) = on(model, ends, flat, Fixed(), TrustRegion()).history
    assert record.note == "undone: a loss was not finite" and model.theta.item() == 1.0


def test_with_a_mask_the_length_is_that_of_what_is_left() -> None:
    """PCGrad's Gramian knows the length of the whole direction, which is 5 times as long."""
    model = Vector(3.0, 4.0)
    region = TrustRegion(start=2**-6, mask=Mask((torch.tensor([True, False]),)))
    (record,) = on(model, lambda t: -(3 * t[0] + 4 * t[1]), flat, PCGrad(), region).history
    assert record.radius == 5 * 2**-6 and model.theta.tolist() == pytest.approx([3 + 5 * 2**-6, 4.0], rel=1e-12)


@dataclass
class Up(PCGrad):
    """Up the retain loss, and says so."""

    def weights(self, gramian: Tensor) -> Tensor:
        return torch.tensor([[0.0, -1.0]], dtype=gramian.dtype)


def test_a_small_predicted_rise_makes_no_step_longer() -> None:
    model = Vector(1.0)
    (record,) = on(model, flat, lambda t: 0.25 * t[0], Up(), TrustRegion(budget=1.0, start=2**-6)).history
    assert record.radius == 2**-6 and model.theta.item() == 1 + 2**-6


@pytest.mark.parametrize("budget", [1.0, 0.25])
@pytest.mark.parametrize("slope", [0.5, 64.0])
def test_half_the_budget_is_the_most_that_may_be_predicted(budget: float, slope: float) -> None:
    size = budget / slope
    model = Vector(30 * size)  # a radius of three times the allowance
    region = TrustRegion(budget=budget, start=0.05)
    (record,) = on(model, flat, lambda t: slope * t[0], Up(), region).history
    assert model.theta.item() - 30 * size == pytest.approx(budget / 2 / slope)
    assert region.radius == record.radius, "nothing had to be halved"


@pytest.mark.parametrize(("level", "note"), [(1.5, ""), (1.5 + 2**-20, "restoration")])
def test_a_level_of_the_budget_is_kept_and_one_above_it_is_brought_down(level: float, note: str) -> None:
    region = TrustRegion(budget=0.5)
    region.level, region.origin, region.seen = level, 1.0, 9
    (record,) = on(Vector(1.0), lambda t: -t[0], lambda t: t[0], Fixed(), region).history
    assert record.accepted and record.note == note


@pytest.mark.parametrize("repairing", [True, False])
@pytest.mark.parametrize(("debt", "restores"), [(1.0, True), (2.0 - 2**-20, True), (2.0, False), (5.0, False)])
def test_what_a_repair_brings_down_is_not_restored(debt: float, restores: bool, repairing: bool) -> None:
    """Neither while it repairs, nor before, where it does so later, up to so many budgets."""
    region = TrustRegion(budget=0.5)
    region.level, region.origin, region.seen = 2.0, 1.0, 9
    region.debt, region.repairing = debt, repairing
    (record,) = on(Vector(1.0), lambda t: -t[0], lambda t: t[0], Fixed(), region).history
    wanted = restores and not repairing
    assert record.accepted and (record.note == "restoration") == wanted and region.restorations == wanted


def test_steps_of_a_repair_are_short_and_grow_no_longer() -> None:
    """At most 0.0025 |theta|, from a longer radius too, where the retain loss leaves all the room there is."""
    for start, radius in ((0.05, 0.0025), (2**-10, 2**-10)):
        region = TrustRegion(start=start)
        region.repairing = True
        history = on(Vector(0.0, 4.0), lambda t: -t[0], flat, Fixed(), region, steps=3).history
        assert [record.radius for record in history] == [4 * radius] * 3 and region.radius == 4 * radius
        assert all(record.accepted and record.note == "" for record in history)


@pytest.mark.parametrize(("rise", "taken"), [(0.5, True), (0.75, False)])
def test_the_last_halving_has_the_same_allowance(rise: float, taken: bool) -> None:
    """After four halvings both sides are looked at, and half the budget is still the most."""
    record, _ = rising(rise * 2**9, 1.0)
    assert record.accepted == taken and record.realised is not None and record.realised[RETAIN] == rise
    assert record.note == ("" if taken else "undone: the retain loss rose by 0.75")
    assert record.lr == (2**-9 if taken else 0.0)


ANGLES = {"agree": (0.6, 0.8), "a right angle": (0.0, 1.0), "apart": (-0.9, math.sqrt(0.19)), "opposed": (-0.97, None)}


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("angle", ANGLES)
def test_a_restoration_takes_the_forget_part_out_where_they_conflict_and_are_apart(angle: str, scale: float) -> None:
    """sin^2 is .19 apart, .06 opposed, on either side of the .1 that decides."""
    x, y = ANGLES[angle]
    y = math.sqrt(1 - x * x) if y is None else y
    model, region = Vector(1.0, 1.0), TrustRegion(budget=1e-3)
    region.level, region.origin, region.seen = 2.0, 1.0, 9
    retain = lambda t: 5 * (x * t[0] + y * t[1])  # noqa: E731
    (record,) = on(model, lambda t: scale * t[0], retain, Fixed(), region).history
    wanted = {"apart": 0.9 * 5 / scale}.get(angle, 0.0)
    assert record.note == "restoration" and record.step.weights[0].tolist() == pytest.approx([wanted, 1.0])
    assert region.radius == record.radius, "a restoration says nothing of how long a step may be"


@pytest.mark.parametrize("forget", [None, flat])
def test_a_restoration_without_a_forget_gradient_is_the_retain_gradient(forget: Field | None) -> None:
    """No forget loss, or one that is flat here: there is nothing to take out, and 0 / 0 is not asked for."""
    model, region = Vector(1.0, 1.0), TrustRegion(budget=1e-3)
    region.level, region.origin, region.seen = 2.0, 1.0, 9
    (record,) = on(model, forget, lambda t: t[0], Fixed(), region).history
    assert record.note == "restoration" and record.step.weights[0].tolist() == [0.0, 1.0]
    assert float(model.theta[0].detach()) < 1.0


def test_the_cap_only_comes_down() -> None:
    region = TrustRegion()
    on(Vector(1.0, 0.0), lambda t: -t[1], flat, Fixed(), region, steps=2)
    radius = region.radius
    assert radius is not None
    region.shrink(0.5, reach=4 * radius)
    assert (region.radius, region.cap) == (pytest.approx(0.5 * radius), pytest.approx(2 * radius))
    region.shrink(0.5, reach=100 * radius)
    assert (region.radius, region.cap) == (pytest.approx(0.25 * radius), pytest.approx(2 * radius))
    region.shrink(0.5, reach=0.1 * radius)
    assert region.radius == region.cap == pytest.approx(0.05 * radius)
    assert region.left == 0.125


class Normed(nn.Module):
    """A layer whose statistics move in a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.theta = nn.BatchNorm1d(1), nn.Parameter(torch.ones(1))


@pytest.mark.parametrize("why", ["refused", "undone", "not finite"])
def test_a_step_that_is_not_taken_leaves_running_statistics_where_they_were(why: str) -> None:
    model = Normed()
    model.norm(torch.randn(8, 1))
    before = [b.clone() for b in model.norm.buffers()]

    def retain(m: nn.Module, batch: Tensor) -> Tensor:
        values = m.norm(batch)[:, 0] * 0 + m.theta
        cliff = 1e6 * (m.theta.detach() > 1) if why == "undone" else 0.0
        return values + cliff + (math.nan if why == "not finite" else 0.0)

    rule = Own(1.0, 0.0, why="mine" if why == "refused" else None)
    method = Method(lambda m, batch: -m.theta + 0 * m.norm(batch)[:, 0], retain, rule, "")
    seen: list[bool] = []

    def read(record: Record, objectives: Objectives) -> None:
        seen.extend(a.equal(b) for a, b in zip(before, model.norm.buffers(), strict=True))

    pair = Pair([torch.randn(8, 1)], [torch.randn(8, 1)])
    (record, *_) = unlearn(model, method, [pair], TrustRegion(), callbacks=[each_step(read)]).history
    assert not record.accepted and seen == [True] * 3


def test_an_interrupt_leaves_running_statistics_where_they_were() -> None:
    model, looks = Normed(), list[int]()
    model.norm(torch.randn(8, 1))
    before = [b.clone() for b in model.norm.buffers()]

    def retain(m: nn.Module, batch: Tensor) -> Tensor:
        looks.append(1)
        values = m.norm(batch)[:, 0] * 0 + m.theta
        if len(looks) == 2:  # after the gradient, in the look at what the step did
            raise KeyboardInterrupt
        return values

    method = Method(lambda m, batch: -m.theta + 0 * m.norm(batch)[:, 0], retain, Fixed(), "")
    result = unlearn(model, method, [Pair([torch.randn(8, 1)], [torch.randn(8, 1)])], TrustRegion())
    assert result.reason == "interrupted" and len(looks) == 2
    assert all(a.equal(b) for a, b in zip(before, model.norm.buffers(), strict=True))


def test_the_constants_that_the_documentation_names() -> None:
    assert (trust.GROW, trust.SHRINK, trust.HALVINGS, trust.BUDGET, trust.RELATIVE) == (1.3, 0.5, 4, 0.02, 0.05)
