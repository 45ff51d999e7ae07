from __future__ import annotations

from unittest.mock import Mock

import pytest
import torch

from unweave.rules import Alternating


def turns(rule: Alternating, steps: int) -> str:
    """The side that acts at each step, as letters."""
    seen = ""
    for _ in range(steps):
        w = rule.weights(torch.zeros(2)).tolist()
        assert sorted(w) == [0.0, 1.0]
        seen += "F" if w[0] else "r"
        rule.observe(Mock())
    return seen


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Alternating(), "rFrFrFrFrF"),
        (Alternating(forget_steps=2, retain_steps=3), "rrrFFrrrFF"),
        (Alternating(rounds=2), "rFrFrrrrrr"),
        (Alternating(rounds=0), "rrrrrrrrrr"),
    ],
)
def test_turns(rule: Alternating, expected: str) -> None:
    assert turns(rule, 10) == expected


def test_asking_twice_does_not_pass_the_turn_on() -> None:
    rule = Alternating()
    assert rule.weights(torch.zeros(2)).equal(rule.weights(torch.zeros(2)))
    assert rule.needs_losses is False


def test_restored_in_the_middle_of_a_cycle() -> None:
    first, second = (Alternating(forget_steps=2, retain_steps=3, rounds=2) for _ in range(2))
    turns(first, 4)
    assert first.state_dict() == {"position": 4}
    second.load_state_dict(first.state_dict())
    assert turns(second, 8) == turns(first, 8) == "FrrrFFrr"
