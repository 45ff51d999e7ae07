"""The step length: a trust region around any rule. No learning rate to tune, plain steps, realised change looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unweave.gramian import norm
from unweave.loop import Record
from unweave.objectives import Objectives
from unweave.parameters import Mask
from unweave.rules._base import FORGET, RETAIN, Rule, Step

SHRINK, GROW = 0.5, 1.3  # of the radius, after a step that was undone and after one that went as predicted
CLOSE = 0.25  # share of the tolerated excess below which a step went as predicted
FLOOR = 1e-3  # nats of excess that are always tolerated: near a memorised optimum every relative test is noise


@dataclass
class TrustRegion:
    r"""Scales a rule's direction `D` to a radius `R`, looks at what the step did, and adapts `R`.

        theta <- theta - (R / |D|) D,      excess = realised dL_r - predicted dL_r,   tol = max(gain_f / 2, FLOOR)

    excess > tol, or anything non-finite: the step is undone and R shrinks; excess < tol / 4: R grows.
    """

    start: float = 1e-3
    budget: float = math.inf
    smallest: float = 1e-7
    mask: Mask | None = None
    radius: float | None = field(default=None, init=False)

    def take(self, number: int, rule: Rule, objectives: Objectives) -> Record:
        before = objectives.snapshot()
        scale = float(norm(before))
        if self.radius is None:
            self.radius = self.start * scale
        objectives.radius = radius = self.radius
        step = rule.backward(objectives)
        direction = objectives.direction()
        length = float(norm(direction))
        if not (math.isfinite(length) and bool(step.losses.isfinite().all())):
            objectives.restore(before); objectives.clear(); self.radius *= SHRINK
            objectives.lr = 0.0
            return Record(number, step, 0.0, False, radius=radius, note="non-finite loss or direction")
        if step.stop:
            objectives.clear(); objectives.lr = 0.0
            return Record(number, step, 0.0, False, radius=radius, note=step.stop)
        lr = step.lr if step.lr is not None else (radius / length if length else 0.0)
        objectives.move(direction, -lr)
        objectives.clear()
        realised = objectives.losses() - step.losses
        predicted = lr * step.predicted if step.predicted is not None else torch.zeros(2, dtype=torch.float64)
        excess = float(realised[RETAIN] - predicted[RETAIN])
        gain = max(-float(predicted[FORGET]), -float(realised[FORGET]) if step.predicted is None else 0.0)
        tol = max(gain / 2, FLOOR)
        if not bool(realised.isfinite().all()) or excess > tol:
            objectives.restore(before)
            self.radius *= SHRINK
            objectives.lr = 0.0
            return Record(number, step, 0.0, False, realised, radius, f"undone: retain loss rose {excess:.3g} more than predicted")
        if excess < CLOSE * tol:
            self.radius *= GROW
        objectives.lr = lr
        rule.observe(objectives)
        return Record(number, step, lr, True, realised, radius)
