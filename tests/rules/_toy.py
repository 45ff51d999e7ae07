"""EUPMU's toy of two parameters: `l_r = (x^2 + 4 y^2) / 2`, `l_u = |theta - (2, 1)|^2 / 2`, plain SGD."""

from __future__ import annotations

from functools import cache

import torch

from tests.rules._functions import ONE, objectives, quadratic
from unweave.rules import EUPMU, Rule

START, LR, STEPS = (0.5, -0.5), 0.05, 400
UNLEARN, UTILITY = quadratic([[1.0, 0.0], [0.0, 1.0]], [2.0, 1.0]), quadratic([[1.0, 0.0], [0.0, 4.0]], [0.0, 0.0])
Run = tuple[list[float], list[list[float]], list[float]]


def go(rule: Rule, steps: int = STEPS, lr: float = LR) -> Run:
    """End point, both losses at the end and before every step, and the multipliers after every step."""
    model, seen = objectives(START, UNLEARN, UTILITY, probe=ONE)
    optimizer = torch.optim.SGD(model.parameters(), lr)
    losses, multipliers = [], []
    for _ in range(steps):
        optimizer.zero_grad()
        seen.lr = lr
        step = rule.backward(seen)
        optimizer.step()
        rule.observe(seen)
        losses.append(step.losses.tolist())
        multipliers.append(getattr(rule, "multiplier", float(step.weights[0, 1])))
    return model.theta.tolist(), [seen.losses().tolist(), *losses], multipliers


@cache
def implicit(tolerance: float, dual_lr: float) -> Run:
    """The paper's rule."""
    return go(EUPMU(tolerance, dual_lr, "same_batch"))
