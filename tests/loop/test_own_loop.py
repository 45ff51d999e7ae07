"""Five lines of one's own do what the loop does, for every row of the catalogue."""

from __future__ import annotations

from itertools import islice

import pytest

from tests._toys import DIFFUSION_ONLY, TEXT_ONLY, TORCHJD, loss, memorised, same, weights
from tests.loop._problems import method, pairs, sgd, task
from unweave.loop import unlearn
from unweave.losses import Ascent
from unweave.methods import METHODS
from unweave.objectives import Objectives
from unweave.rules import EUPMU, OFMU, PCGrad

# How a row is built for somebody who owns the loop: two rules divide by, or go, a step length that nobody tells them.
OWN_LOOP = {"eupmu": {"dual_lr": 1.0}, "ofmu": {"inner_lr": 0.01}}


@pytest.mark.parametrize("name", sorted(set(METHODS) - TEXT_ONLY - DIFFUSION_ONLY))
def test_the_five_lines_of_a_loop_of_ones_own(name: str) -> None:
    if name in TORCHJD:
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
    moving = start.keys() - {"strikes", "share", "allowed", "needed"}  # without a contract these stay
    assert (rule.state_dict() != start) == bool(moving), "a state that does not move tests nothing"
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
