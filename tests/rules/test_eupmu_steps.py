"""EUPMU at the ends of its ranges: steps of no length, gradients that have gone, a number and a contract."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.rules._functions import ONE, objectives
from tests.rules._toy import START, UNLEARN, UTILITY
from unweave.objectives import Objectives
from unweave.rules import EUPMU, UnilateralSurgery
from unweave.rules._base import Left
from unweave.testing.gradients import gram, vector


def seen(lr: float | None) -> Objectives:
    _, found = objectives(START, UNLEARN, UTILITY, probe=ONE)
    found.lr = lr
    return found


@pytest.mark.parametrize("kind", [EUPMU, UnilateralSurgery])
def test_a_tolerance_follows_the_contract_if_it_is_to_and_if_the_last_step_had_a_length(kind: Any) -> None:
    fixed, auto = kind(tolerance=0.3), kind(tolerance="auto")
    for rule in (fixed, auto):
        rule.steer(Left(1.0, 0.01, 20, 0.5))
    assert fixed.allowed == 0.3 and auto.allowed == pytest.approx(0.001)
    for rule in (fixed, auto):
        rule.steer(Left(1.0, 0.01, 20, 0.0))
    assert fixed.allowed == 0.3 and auto.allowed == pytest.approx(0.001)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_blocks_share_the_tolerance_at_every_scale(scale: float) -> None:
    """Each in proportion to `|g_u| |g_r|`: 1 to 9 here, and the two rises are 0.1 and 0.9 of the tolerance."""
    u, r = vector(1.0, 1.0), vector(-1.0, 0.0)
    blocks = scale**2 * torch.cat([gram(u, r), gram(3 * u, 3 * r)])
    weights = UnilateralSurgery(0.5 * scale**2).weights(blocks)
    rises = -(blocks[:, 1] * weights).sum(-1) / scale**2
    assert rises.tolist() == pytest.approx([0.05, 0.45])


@pytest.mark.parametrize("tolerance", [-1.0, 0.0, 1.0])
def test_a_block_without_gradients_has_the_multiplier_0(tolerance: float) -> None:
    blocks = torch.cat([gram(vector(0, 0), vector(0, 0)), gram(vector(1, 1), vector(-1, 0))])
    weights = UnilateralSurgery(tolerance).weights(blocks)
    assert weights[0].tolist() == [1.0, 0.0] and weights.isfinite().all()


def test_a_rise_by_the_starting_loss_raises_the_multiplier_by_3() -> None:
    """`dual_lr = 3 lr / (L_r(0) + 1e-3)`, whatever the step length and the losses that come after the first."""
    for lr, start in ((0.1, 2.0), (1e-3, 2.0), (0.1, 40.0)):
        rule, expected = EUPMU(), 0.0
        rule.weights(vector(9.0, start))
        for rise in (1.0, 0.5, -0.75):
            rule.observe(seen(lr))
            assert rule.before is not None
            rule.weights(vector(9.0, rule.before + rise * start))
            expected += 3 * rise * start / (start + 1e-3)
            assert rule.multiplier == pytest.approx(expected, rel=1e-12)


def test_its_own_step_length_counts_where_no_loop_sets_one() -> None:
    multipliers = []
    for own, given in ((None, 0.1), (0.1, None), (7.0, 0.1)):
        rule = EUPMU(dual_lr=1.0, lr=own)
        rule.weights(vector(0.0, 1.0))
        rule.observe(seen(given))
        rule.weights(vector(0.0, 1.5))
        multipliers.append(rule.multiplier)
    assert multipliers == pytest.approx([5.0] * 3)


@pytest.mark.parametrize("estimator", ["probe", "next_batch", "same_batch"])
def test_a_step_of_no_length_teaches_nothing(estimator: Any) -> None:
    """Its change over its length is 0 / 0: the multiplier stays as it is."""
    rule = EUPMU(0.2, dual_lr=1.0, estimator=estimator)
    rule.multiplier = 0.5
    for _ in range(3):
        rule.weights(vector(0.0, 1.0))
        rule.observe(seen(0.0))
    assert rule.multiplier == 0.5


@pytest.mark.parametrize(("estimator", "moved"), [("same_batch", 0), ("next_batch", 1)])
def test_the_shipped_variant_moves_after_the_step_or_before_the_next(estimator: Any, moved: int) -> None:
    rule = EUPMU.compat(estimator=estimator)
    rule.weights(vector(1.0, 0.1))
    rule.weights(vector(1.0, 0.2))
    assert rule.steps == moved
    rule.observe(seen(0.1))
    assert rule.steps == 1
