"""Hyperparameters that a contract decides: each rule follows what is left, and nothing else."""

from __future__ import annotations

import pytest
import torch

from unweave.errors import ConfigurationError
from unweave.rules import EUPMU, HAMU, UnilateralSurgery
from unweave.rules._base import Left

GRAMIAN = torch.tensor([[[4.0, -1.0], [-1.0, 1.0]]], dtype=torch.float64)


def left(predicted: tuple[float, float], realised: tuple[float, float], share: float = 1.0) -> Left:
    return Left(share, 0.01, 20, 0.5, torch.tensor(predicted), torch.tensor(realised))


def test_hamu_asks_for_more_while_steps_do_what_was_predicted() -> None:
    rule = HAMU("forget", ratio="auto")
    shares = [rule.share]
    for _ in range(40):
        rule.steer(left((-0.1, -0.02), (-0.11, -0.021)))
        shares.append(rule.share)
    assert shares == sorted(shares) and shares[0] == 0.1 and shares[-1] == 0.4, "grows to its end and stays there"


def test_hamu_asks_for_less_when_the_other_objective_rises_beyond_the_prediction() -> None:
    for guarantee, surprise in (("forget", (-0.1, 0.05)), ("retain", (0.05, -0.1))):
        rule = HAMU(guarantee, ratio="auto")
        for _ in range(20):
            rule.steer(left((-0.1, -0.1), surprise))
        assert rule.share == 0.02, guarantee


def test_hamu_stays_within_what_is_left_of_the_budget() -> None:
    rule = HAMU("forget", ratio="auto")
    rule.steer(left((-0.1, -0.02), (-0.1, -0.02), share=0.125))
    assert rule.share == pytest.approx(0.05)


def test_hamu_auto_changes_the_quota_and_a_number_does_not_move() -> None:
    auto, fixed = HAMU("forget", ratio="auto"), HAMU("forget", ratio=0.1)
    assert torch.equal(auto.weights(GRAMIAN), fixed.weights(GRAMIAN))
    for rule in (auto, fixed):
        rule.steer(left((-0.1, -0.02), (-0.1, -0.02)))
    assert fixed.share == 0.1 and auto.share > 0.1
    assert torch.equal(auto.weights(GRAMIAN), HAMU("forget", ratio=auto.share).weights(GRAMIAN))


@pytest.mark.parametrize("kind", [EUPMU, UnilateralSurgery])
def test_tolerance_is_what_is_left_over_the_steps_that_are_left(kind: type[EUPMU] | type[UnilateralSurgery]) -> None:
    rule = kind(tolerance="auto")
    assert rule.allowed == 0.0
    rule.steer(left((0.0, 0.0), (0.0, 0.0)))
    assert rule.allowed == pytest.approx(0.01 / (0.5 * 20))
    other = kind(tolerance="auto")
    other.load_state_dict(rule.state_dict())
    assert other.allowed == rule.allowed, "a resumed run goes on with it"


def test_the_tolerance_in_force_is_the_one_that_decides() -> None:
    auto = UnilateralSurgery(tolerance="auto")
    auto.steer(Left(1.0, 0.3, 1, 1.0))
    assert torch.equal(auto.weights(GRAMIAN), UnilateralSurgery(tolerance=0.3).weights(GRAMIAN))
    implicit, fixed = EUPMU(tolerance="auto", dual_lr=0.1), EUPMU(tolerance=0.3, dual_lr=0.1)
    implicit.steer(Left(1.0, 0.3, 1, 1.0))
    for rule in (implicit, fixed):
        rule.multiplier = 1.0
    assert implicit.update(1.0, 0.9, 1.0) == fixed.update(1.0, 0.9, 1.0)


def test_over_a_run_of_equal_steps_the_budget_is_spent_and_no_more() -> None:
    """eps_t lr summed over the run is the budget, whatever part of it was used on the way (EUPMU 1.3.3)."""
    budget, spent, steps, lr = 0.04, 0.0, 10, 0.2
    rule = EUPMU(tolerance="auto")
    for step in range(steps):
        rule.steer(Left(1.0, budget - spent, steps - step, lr))
        spent += rule.allowed * lr
    assert spent == pytest.approx(budget)


def test_only_auto_needs_a_contract_and_nonsense_is_refused() -> None:
    assert [r.needs_contract for r in (HAMU(), HAMU(ratio="auto"), EUPMU(), EUPMU(tolerance="auto"))] == [
        *(False, True),
        *(False, True),
    ]
    cases = [lambda: HAMU(ratio="car"), lambda: EUPMU(tolerance="car"), lambda: UnilateralSurgery(tolerance="car")]  # type: ignore[arg-type]
    cases.append(lambda: EUPMU(tolerance="auto", budget=0.1, steps=10))
    for case in cases:
        with pytest.raises(ConfigurationError, match="auto"):
            case()
    assert len(cases) == 4
