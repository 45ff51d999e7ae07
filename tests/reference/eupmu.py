"""EUPMU as in arXiv 2510.22124, and as its authors ship it: flat vectors, plain floats, torch's own Adam; slow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Function = Callable[[Vector], float]
Field = Callable[[Vector], Vector]


def surgery(g_u: Vector, g_r: Vector, tolerance: float) -> tuple[Vector, float]:
    """Equation of 1.1: the projection of `g_u` on `<g_r, d> >= -tolerance`, and the multiplier."""
    squared = float(g_r @ g_r)
    lam = max(0.0, (-float(g_u @ g_r) - tolerance) / squared) if squared else 0.0
    return g_u + lam * g_r, lam


def exact(theta: Vector, g_u: Field, g_r: Field, tolerance: float, lr: float, steps: int) -> tuple[Vector, float]:
    """Gradient descent along the surgery's direction; the end and the last multiplier."""
    lam = 0.0
    for _ in range(steps):
        d, lam = surgery(g_u(theta), g_r(theta), tolerance)
        theta = theta - lr * d
    return theta, lam


def implicit(
    theta: Vector, g_u: Field, g_r: Field, loss_r: Function, tolerance: float, lr: float, dual_lr: float, steps: int
) -> list[tuple[Vector, float]]:
    """Equation 8, projected; the points and multipliers after every step."""
    lam, path = 0.0, []
    for _ in range(steps):
        before = loss_r(theta)
        theta = theta - lr * (g_u(theta) + lam * g_r(theta))
        lam = dual(lam, before, loss_r(theta), tolerance, lr, dual_lr)
        path.append((theta, lam))
    return path


def dual(lam: float, before: float, after: float, tolerance: float, lr: float, dual_lr: float) -> float:
    """One projected dual step."""
    return max(0.0, lam - dual_lr * ((before - after) / lr + tolerance))


@dataclass(frozen=True)
class Shipped:
    """One of the authors' dual updates: Adam with coupled weight decay on a hand-made gradient."""

    dual_lr: float
    error: float
    logarithm: bool
    floor: float = 1e-8
    initial: float = 0.0
    weight_decay: float = 0.01

    def trajectory(self, losses: Iterable[tuple[float, float]]) -> list[float]:
        """`w` after the retain losses (before, after) of every step."""
        w = torch.tensor([self.initial], dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([w], lr=self.dual_lr, weight_decay=self.weight_decay)
        path = []
        for before, after in losses:
            delta = (
                np.log(before + self.floor) - np.log(after + self.floor) if self.logarithm else before - after
            ) - self.error
            w.grad = torch.full_like(w, float(delta))
            adam.step()
            path.append(float(w.detach()))
        return path
