from __future__ import annotations

import torch
from torch import Tensor

from unweave.rules import PDU


class Script:
    """Objectives whose retain loss follows a script; remembers the weights it was given."""

    def __init__(self, retain: list[float]):
        self.retain, self.used = list(retain), []

    def backward(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        self.used.append(weights.tolist())
        return torch.tensor([0.0, self.retain.pop(0)], dtype=torch.float64), weights


def run(rule: PDU, objectives: Script, steps: int) -> None:
    for _ in range(steps):
        rule.backward(objectives)  # type: ignore[arg-type]
        rule.observe(objectives)  # type: ignore[arg-type]


def test_the_multiplier_follows_the_excess_and_stays_non_negative() -> None:
    """epsilon .5, eta 2: 0, [0 + 2(.75 - .5)] = .5, [.5 + 2(1 - .5)] = 1.5, [1.5 - 1] = .5, [.5 - 1]+ = 0."""
    rule, objectives = PDU(epsilon=0.5, dual_lr=2.0), Script([0.75, 1.0, 0.0, 0.0, 0.0])
    run(rule, objectives, 5)
    assert objectives.used == [[1.0, lam] for lam in (0.0, 0.5, 1.5, 0.5, 0.0)]
    assert rule.multiplier == 0.0


def test_restored_between_the_primal_and_the_dual_step() -> None:
    first, second = PDU(epsilon=0.0), PDU(epsilon=0.0)
    first.backward(Script([0.25]))  # type: ignore[arg-type]
    second.load_state_dict(first.state_dict())
    for rule in (first, second):
        rule.observe(Script([]))  # type: ignore[arg-type]
    assert first.multiplier == second.multiplier == 0.25
