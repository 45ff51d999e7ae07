"""Steps that are halved or undone, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice, pairwise

import pytest
import torch
from torch import Tensor, nn

from tests._toys import each_step, memorised, same, weights
from tests.trust._problems import Field, Vector, flat, on, pairs, task
from unweave import trust
from unweave.data.pairs import Pair
from unweave.loop import Record, Result, unlearn
from unweave.losses import Ascent
from unweave.methods import Method
from unweave.objectives import FORGET, RETAIN, Objectives
from unweave.rules import OFMU, Fixed, PCGrad
from unweave.trust import TrustRegion


def test_a_step_that_costs_too_much_is_halved_until_it_does_not() -> None:
    """The retain loss rises by 100 a unit, so by 1 in a first step of 0.01; 0.6 is allowed: one halving, to 0.005."""
    model, region = Vector(1.0), TrustRegion(budget=1.2, start=0.01)
    (record,) = on(model, lambda t: -t[0], lambda t: 100 * (t[0] - 1.0), Fixed(1.0, 0.0), region).history
    assert record.accepted and record.lr == pytest.approx(0.005)
    assert model.theta.item() == pytest.approx(1.005, rel=1e-12)
    assert record.realised is not None and record.realised.tolist() == pytest.approx([-0.005, 0.5])
    assert region.radius == pytest.approx(0.005)


def test_the_forget_side_is_looked_at_only_where_the_retain_side_lets_a_step_stand() -> None:
    """The same problem, two halvings: four looks at the retain side, the gradient's among them, two at the other."""
    seen: list[int] = []

    def told(side: int, value: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda theta: seen.append(side) or value(theta)  # type: ignore[func-returns-value]

    forget, retain = told(FORGET, lambda t: -t[0]), told(RETAIN, lambda t: 100 * (t[0] - 1.0))
    (record,) = on(Vector(1.0), forget, retain, Fixed(1.0, 0.0), TrustRegion(budget=0.6, start=0.01)).history
    assert record.accepted and record.lr == pytest.approx(0.0025)
    assert seen.count(RETAIN) == 4 and seen.count(FORGET) == 2


def test_the_forget_side_is_looked_at_on_every_second_step_and_decides_nothing_while_finite() -> None:
    """On a network: the weights of a run that looks every time, bit for bit, and its changes where it looked."""

    def run(every: int) -> tuple[nn.Module, list[Record]]:
        model, forget, retain = memorised()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(trust, "EVERY", every)
            method = Method(Ascent(task.nll), task.nll, PCGrad(), "")
            result = unlearn(model, method, list(islice(pairs(forget, retain), 9)), TrustRegion())
        return model, result.history

    (always, each), (model, every_second) = run(1), run(2)
    changes = [(a.realised, b.realised) for a, b in zip(each, every_second, strict=True)]
    assert same(weights(always), weights(model)) and len(changes) == 9
    for number, (a, b) in enumerate(changes):
        assert a is not None and b is not None and a.isfinite().all() and a[RETAIN] == b[RETAIN]
        assert b[FORGET].isnan() if number % 2 else a[FORGET] == b[FORGET]


def test_the_forget_side_is_looked_at_after_every_step_where_the_rule_is_steered_by_it() -> None:
    class Steered(Fixed):
        @property
        def needs_contract(self) -> bool:
            return True

    def looks(rule: Fixed, steps: int) -> list[bool]:
        model, region = Vector(1.0), TrustRegion(start=0.01)
        losses = (lambda m, batch: -m.theta.expand(len(batch)), lambda m, batch: 0 * m.theta.expand(len(batch)))
        objectives = Objectives(model, losses).at(Pair([torch.zeros(1)], [torch.zeros(1)]))
        records = [region.take(number, rule, objectives) for number in range(1, steps + 1)]
        return [r.accepted and r.realised is not None and bool(r.realised.isfinite().all()) for r in records]

    assert looks(Steered(1.0, 0.0), 4) == [True] * 4
    assert looks(Fixed(1.0, 0.0), 4) == [True, False] * 2


def destructive() -> tuple[Vector, Result]:
    """A cliff: at any distance the retain loss is a million."""
    model = Vector(1.0, 2.0, 1 / 3)
    cliff = lambda t: 1e6 * (t[0] > 1.0) + 0.0 * t[0]  # noqa: E731
    result = on(model, lambda t: -t[0], cliff, Fixed(1.0, 0.0), TrustRegion(), steps=60)
    return model, result


def test_a_destructive_step_is_undone_bit_for_bit_and_the_run_ends() -> None:
    model, result = destructive()
    assert model.theta.equal(Vector(1.0, 2.0, 1 / 3).theta)
    assert result.steps == 0 and result.reason.startswith("hard: no step, however small")
    assert 3 <= len(result.history) < 20
    first, *_, last = result.history
    assert first.note == "undone: the retain loss rose by 1e+06" and not first.accepted and first.lr == 0
    assert first.realised is not None and first.realised[RETAIN] == 1e6
    radii = [r.radius for r in result.history]
    assert all(b < a / 2**trust.HALVINGS for a, b in pairwise(radii))
    assert last.step.stop is not None and not last.accepted


def test_ascent_on_the_retain_loss_is_halved_and_undone_bit_for_bit() -> None:
    model, forget, retain = memorised()
    before, pair = weights(model), next(iter(pairs(forget, retain)))
    seen: list[bool] = []
    result = unlearn(
        model,
        Method(None, task.nll, Fixed(retain=-1.0), ""),
        [pair] * 3,
        TrustRegion(start=trust.LARGEST, budget=1e-6),
        callbacks=[each_step(lambda record, objectives: seen.append(same(weights(model), before)))],
    )
    assert result.steps == 0 and seen == [True, True, True]
    assert all(r.note.startswith("undone: the retain loss rose by") for r in result.history)


def test_a_step_that_is_not_finite_is_undone_and_the_radius_halved() -> None:
    model, forget, retain = memorised()
    good = list(zip(range(8), pairs(forget, retain), strict=False))
    nan = torch.full((4, 8), math.nan), torch.zeros(4, dtype=torch.long)
    stream = [Pair([nan], p.retain) if n == 2 else Pair(p.forget, [nan]) if n == 4 else p for n, p in good]
    region, kept, radii = TrustRegion(), [weights(model)], []

    def keep(record: Record, objectives: Objectives) -> None:
        kept.append(weights(model))
        radii.append(region.radius)

    result = unlearn(
        model, Method(Ascent(task.nll), task.nll, PCGrad(), ""), stream, region, callbacks=[each_step(keep)]
    )
    assert [r.accepted for r in result.history] == [n not in (2, 4) for n in range(8)]
    assert result.skipped == 2 and result.reason == "pairs exhausted"
    assert same(kept[2], kept[3]) and same(kept[4], kept[5]) and not same(kept[3], kept[4])
    assert radii[2] == radii[1] / 2 and radii[4] == radii[3] / 2
    assert region.level is not None and math.isfinite(region.level)


def test_a_side_that_becomes_infinite_by_the_step_is_not_accepted() -> None:
    """The forget loss overflows beyond 1.02, and the retain loss does not see it: the third step is looked at again."""
    model, region = Vector(1.0), TrustRegion(start=0.006)
    overflows: Field = lambda t: torch.where(t.detach()[0] > 1.02, -math.inf, 0.0) - t[0]  # noqa: E731
    result = on(model, overflows, flat, Fixed(), region, steps=3)
    lengths = [r.lr for r in result.history]
    assert result.skipped == 0 and lengths[:2] == pytest.approx([0.006, 0.0078])
    assert lengths[2] == pytest.approx(0.0078 * 1.3 / 2) and 1.018 < model.theta.item() <= 1.02


def test_a_side_that_becomes_infinite_unseen_refuses_the_next_step() -> None:
    model, region = Vector(1.0), TrustRegion(start=0.01)
    overflows: Field = lambda t: torch.where(t.detach()[0] > 1.02, -math.inf, 0.0) - t[0]  # noqa: E731
    result = on(model, overflows, flat, Fixed(), region, steps=3)
    assert [r.accepted for r in result.history] == [True, True, False]
    assert result.history[2].note == "undone: a loss was not finite" and 1.02 < model.theta.item() < 1.03


def test_ofmu_undoes_its_inner_loop_too() -> None:
    """The weights move inside the rule; what is undone is the whole step."""
    model = Vector(1.0, 2.0)
    result = on(model, lambda t: -t[0], lambda t: 1e6 * (t[0] != 1.0) + 0.0 * t[0], OFMU(), TrustRegion(), steps=40)
    assert result.steps == 0 and model.theta.equal(Vector(1.0, 2.0).theta)
    assert result.reason.startswith("hard")


def test_an_interrupt_in_the_middle_of_a_step_leaves_the_weights_before_it() -> None:
    model, looks = Vector(1.0, 2.0), []

    def retain(theta: Tensor) -> Tensor:
        looks.append(1)
        if len(looks) == 4:  # gradient, look, gradient, look
            raise KeyboardInterrupt
        return flat(theta)

    result = on(model, lambda t: -t[0], retain, Fixed(), TrustRegion(start=0.01), steps=5)
    assert (result.reason, result.steps) == ("interrupted", 1)
    assert model.theta[0].item() == pytest.approx(1.0 + 0.01 * math.sqrt(5))
