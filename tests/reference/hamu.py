"""HAMU as in arXiv 2606.02119: raw gradients of both losses, flat vectors, the orthogonal part spelled out; slow.

`g_r`, `g_f` are the gradients of the retain and the forget *loss*; unlearning raises the latter. Steps `d` are weight
changes, quotas and radii are absolute.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Vector = NDArray[np.float64]


def effective(variant: str, g_r: Vector, g_f: Vector) -> tuple[Vector, Vector]:
    """`a` and `b` of `min a.d  subject to  b.d >= Q, |d| <= R`."""
    return (g_r, g_f) if variant == "hamu-q" else (-g_f, -g_r)


def step(variant: str, g_r: Vector, g_f: Vector, quota: float, radius: float) -> tuple[Vector, str]:
    """One block: the step and its branch; an infeasible block goes along `b` as far as the ball allows."""
    a, b = effective(variant, g_r, g_f)
    length_a, length_b, kappa = np.linalg.norm(a), np.linalg.norm(b), a @ b
    if length_b == 0:
        return (-(radius / length_a) * a, "direct") if quota == 0 and length_a else (0 * a, "infeasible")
    if quota > radius * length_b * (1 + 1e-12):
        return radius / length_b * b, "infeasible"
    if length_a == 0:
        return quota / length_b**2 * b, "collinear"
    if kappa <= -quota * length_a / radius:
        return -(radius / length_a) * a, "direct"
    orthogonal = a - kappa / length_b**2 * b
    length = np.linalg.norm(orthogonal)
    if length <= 10**-3.5 * length_a:
        return quota / length_b**2 * b, "collinear"
    rest = np.sqrt(max(radius**2 - (quota / length_b) ** 2, 0.0))
    return quota / length_b**2 * b - rest / length * orthogonal, "rectified"


def quotas(split: str, total: float, gradients_r: Sequence[Vector], gradients_f: Sequence[Vector]) -> list[float]:
    """Section 2.2: how the quota is shared among blocks."""
    if split == "uniform":
        weights = [1.0] * len(gradients_r)
    elif split == "softmax":
        weights = [np.exp(-(r @ f)) for r, f in zip(gradients_r, gradients_f, strict=True)]
    else:
        weights = [np.linalg.norm(r) * np.linalg.norm(f) for r, f in zip(gradients_r, gradients_f, strict=True)]
    return [total * w / sum(weights) for w in weights]


def layerwise(
    variant: str, gradients_r: Sequence[Vector], gradients_f: Sequence[Vector], total: float, lr: float, split: str
) -> list[Vector]:
    """Every block on its own, learning-rate radius."""
    shares = quotas(split, total, gradients_r, gradients_f)
    return [
        step(variant, r, f, q, lr * float(np.linalg.norm(effective(variant, r, f)[0])))[0]
        for r, f, q in zip(gradients_r, gradients_f, shares, strict=True)
    ]


def whole(
    variant: str, gradients_r: Sequence[Vector], gradients_f: Sequence[Vector], total: float, lr: float
) -> list[Vector]:
    """All parameters as one vector, learning-rate radius."""
    r, f = np.concatenate(gradients_r), np.concatenate(gradients_f)
    d, _ = step(variant, r, f, total, lr * float(np.linalg.norm(effective(variant, r, f)[0])))
    return np.split(d, np.cumsum([len(g) for g in gradients_r])[:-1])


def joint(
    variant: str, gradients_r: Sequence[Vector], gradients_f: Sequence[Vector], total: float, lr: float
) -> tuple[list[Vector], float]:
    """Section 2.5: one quota, a ball for every block, learning-rate radius; the steps and the multiplier."""
    pairs = [effective(variant, r, f) for r, f in zip(gradients_r, gradients_f, strict=True)]

    def at(lam: float) -> list[Vector]:
        return [-lr * np.linalg.norm(a) * (a - lam * b) / np.linalg.norm(a - lam * b) for a, b in pairs]

    def missing(lam: float) -> float:
        return float(sum(b @ d for (_, b), d in zip(pairs, at(lam), strict=True))) - total

    if missing(0.0) >= 0:
        return at(0.0), 0.0
    high = 1.0
    while missing(high) < 0:
        high *= 2
    lam = float(brentq(missing, 0.0, high, xtol=1e-15, rtol=1e-14))
    return at(lam), lam
