"""The retain loss keeps its budget, and forgetting goes on."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import pytest
import torch

from tests._toys import accuracy, each_step, loss, memorised
from tests.trust._problems import Vector, on, pairs, task
from unweave.data.pairs import Pair
from unweave.loop import Record, unlearn
from unweave.methods import METHODS, Method
from unweave.objectives import FORGET, RETAIN, Objectives
from unweave.rules import Fixed
from unweave.rules._base import Asked
from unweave.trust import TrustRegion


def test_while_the_level_is_above_its_budget_the_retain_loss_descends() -> None:
    """Each rise is within its allowance, but they add up: then come restorations, and the rule is not asked."""
    asked: list[int] = []

    @dataclass
    class Asking(Fixed):
        def observe(self, objectives: Asked) -> None:
            asked.append(1)

    model, region = Vector(1.0, 1.0), TrustRegion(budget=0.1)
    result = on(model, lambda t: -t[0], lambda t: t[0].clamp(min=0), Asking(1.0, 0.0), region, steps=80)
    kinds = [r.note for r in result.history]
    assert region.restorations == kinds.count("restoration") >= 5
    assert len(asked) == kinds.count("") == result.steps - region.restorations
    for record in result.history:
        if record.note == "restoration":
            assert record.realised is not None and record.realised[RETAIN] < 0 and record.accepted
            assert record.step.weights.tolist() == [[0, 1]]  # the two gradients are opposed
    assert max(float(r.step.losses[RETAIN]) for r in result.history) < 1.0 + 3 * 0.1


def test_a_restoration_undoes_no_forgetting() -> None:
    """Along the retain gradient without its part against the forget gradient; the forget loss is as it was before."""
    model, region = Vector(1.0, 1.0, 1.0), TrustRegion(budget=0.1)
    rule = Fixed(1.0, 0.0)
    result = on(model, lambda t: -t[0], lambda t: (t[0] + t[1]).clamp(min=0), rule, region, steps=60)
    restored = [r for r in result.history if r.note == "restoration"]
    assert len(restored) == region.restorations >= 5
    for record in restored:
        assert record.step.weights.tolist() == [[1, 1]] and record.realised is not None
        assert record.realised[RETAIN] < 0
    forgotten = [float(r.realised[FORGET]) for r in restored if r.realised is not None]
    looked = [change for change in forgotten if math.isfinite(change)]
    assert len(looked) >= 2 and looked == pytest.approx([0.0] * len(looked), abs=1e-12)


HEADLINE = ["hamu_q", "hamu_u", "unilateral_surgery", "eupmu", "ofmu", "pcgrad", "graddiff"]


@pytest.mark.parametrize("name", HEADLINE)
def test_the_budget_is_kept_and_the_wrong_labels_are_forgotten(name: str) -> None:
    """To a forget loss of 3 nats the retain loss stays within its budget of 0.02. Who presses on to 60 steps, far past
    any sensible target, pays at most 0.4 nats for a while, 0.1 at the end, and never with the model."""
    model, forget, retain = memorised()
    before, start = loss(model, retain), accuracy(model, retain)
    region, over, forgotten = TrustRegion(), [], []

    def read(record: Record, objectives: Objectives) -> None:
        assert region.level is not None and region.origin is not None
        over.append(region.level - region.origin)
        forgotten.append(loss(model, forget))

    made = METHODS[name](task, model)
    result = unlearn(model, made, pairs(forget, retain), region, steps=60, callbacks=[each_step(read)])
    assert result.skipped == 0 and result.reason == "steps used up" and result.steps > 40
    assert region.origin is not None and region.tolerated == pytest.approx(0.02 + 0.05 * region.origin)
    enough = next(n for n, nats in enumerate(forgotten) if nats > 3)
    assert enough < 20 and max(over[: enough + 1]) <= region.tolerated
    assert max(over) < 0.4 and over[-1] < 0.1
    assert loss(model, retain) < before + 0.1 and accuracy(model, retain) > start - 0.05


def test_graddiff_would_diverge_at_a_fixed_rate_and_needs_restorations() -> None:
    """So the test above is not one of a harmless problem."""
    model, forget, retain = memorised()
    free = copy.deepcopy(model)
    unlearn(
        free, METHODS["graddiff"](task, free), pairs(forget, retain), torch.optim.SGD(free.parameters(), 0.1), steps=60
    )
    assert not loss(free, retain) < 1.0
    region = TrustRegion()
    unlearn(model, METHODS["graddiff"](task, model), pairs(forget, retain), region, steps=60)
    assert region.restorations > 0 and loss(model, retain) < 0.1


def test_a_run_without_a_retain_loss_only_grows() -> None:
    model, region = Vector(1.0, 1.0), TrustRegion()
    method = Method(lambda m, b: -m.theta[:1].expand(len(b)), None, Fixed(), "")
    result = unlearn(model, method, [Pair([torch.zeros(1)], [])] * 5, region)
    assert result.steps == 5 and region.restorations == 0 and region.level == 0
