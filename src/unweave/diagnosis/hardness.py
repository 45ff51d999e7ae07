"""How hard is forgetting here? Pure functions of the 2x2 inner products of the two gradients.

A Gramian is `[[<g_u,g_u>, <g_u,g_r>], [<g_r,g_u>, <g_r,g_r>]]`: order forget, retain, both objectives
minimised, so that `g_u = -grad L_f` under ascent. `A = |g_r|`, `B = |g_u|`, and `theta` is the angle of
`g_r` and `grad L_f`: below 90 degrees the two losses fall together, and forgetting costs utility. All of it
is first order, hence for small steps.

HAMU, arXiv 2606.02119 (ICML 2026).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Level = Literal["easy", "hard", "infeasible"]
SLIGHT = 0.95  # of the fastest forgetting free of harm (|cosine| .31): a conflict that small decides nothing
SURE = 1.96  # standard errors: two-sided 95 %
TOLERANCE = 0.25  # relative error of a first-order prediction that counts as holding


@dataclass(frozen=True)
class Verdict:
    """How hard a request is, and why in plain words."""

    level: Level
    reason: str


def kappa(gramian: Tensor) -> Tensor:
    """`kappa = <g_r, grad L_f> = -<g_u, g_r>`, `[..., 2, 2] -> [...]`; above 0 the objectives conflict."""
    return -gramian[..., 0, 1]


def cosine(gramian: Tensor) -> Tensor:
    """`cos(g_u, g_r) = -kappa / (A B)`, `[..., 2, 2] -> [...]`; below 0: conflict, NaN: a zero gradient."""
    return (gramian[..., 0, 1] / _product(gramian)).clamp(-1, 1)


def thresholds(
    gramian: Tensor, rate: float | Tensor, guarantee: Literal["forget", "retain"] = "forget"
) -> tuple[Tensor, Tensor]:
    """Where HAMU's step changes its nature when it guarantees an improvement of `rate = Q / R`.

    With `a` the gradient of the other objective: up to `kappa1 = -rate |a|` its steepest descent keeps the
    guarantee by itself; beyond `kappa2 = sqrt(A^2 B^2 - rate^2 |a|^2)` every step in the ball that keeps it
    raises the other objective.

    Args:
        gramian: `[..., 2, 2]`.
        rate: `Q / R`; feasible up to the norm of the guaranteed objective's gradient.
        guarantee: the objective that is guaranteed: forget is HAMU-Q, retain HAMU-U.

    Returns:
        `kappa1` and `kappa2`, `[...]` each; `kappa2` is NaN where the guarantee is infeasible.
    """
    other = 1 if guarantee == "forget" else 0
    limit, most = rate * gramian[..., other, other].sqrt(), _product(gramian)
    beyond = (most.square() - limit.square()).clamp_min(0).sqrt()
    return -limit, torch.where(limit <= most * (1 + 1e-12), beyond, torch.nan)


def feasible_quota(gramian: Tensor) -> Tensor:
    """`S = sum_i |g_u,i| |g_r,i|`, `[..., 2, 2] -> []`: the largest `Q / lr` for radii `lr |g_r,i|`."""
    return _product(gramian).sum()


def free_share(gramian: Tensor) -> Tensor:
    """The largest share of the fastest forgetting that need not raise the retain loss.

    `sin theta` under conflict, 1 otherwise (also for a zero gradient); `[..., 2, 2] -> [...]`.
    """
    cos = cosine(gramian).nan_to_num(0.0)
    return torch.where(cos < 0, (1 - cos.square()).sqrt(), 1.0)


def front(gramian: Tensor, share: Tensor) -> Tensor:
    """Least change of the retain loss for a share `c` of the fastest forgetting, in units of `R A`.

    `min <g_r, d> / (R A)` over `<grad L_f, d> >= c R B` and `|d| <= R`. With `phi = arccos c` it is
    `cos(theta + phi) = c cos theta - sqrt(1 - c^2) sin theta`, and -1 where `theta + phi >= pi`. Times
    `A / (c B)` it is the retain loss per unit of forget loss.

    Args:
        gramian: of the whole model, `[2, 2]`.
        share: `c` in [0, 1], `[n]`.

    Returns:
        `[n]`, from -1 (the retain loss's steepest descent) to 1 (its steepest ascent); 0 for a zero gradient.
    """
    cos_theta = -cosine(gramian)
    if cos_theta.isnan():
        return torch.zeros_like(share)
    sin_phi, sin_theta = (1 - share.square()).sqrt(), (1 - cos_theta.square()).sqrt()
    return torch.where(-cos_theta >= share, -1.0, share * cos_theta - sin_phi * sin_theta)


def validity(slope: float, curvature: float, tolerance: float = TOLERANCE) -> float | None:
    """How far along a direction `slope r` predicts a change to within `tolerance`, to second order.

    `|curvature r^2 / 2| <= tolerance |slope r|` up to `r = 2 tolerance |slope| / |curvature|`.

    Returns:
        The radius, in the unit of parameter length; None: without curvature there is no end.
    """
    return None if curvature == 0 else 2 * tolerance * abs(slope) / abs(curvature)


def verdict(gramian: Tensor, share: float, error: float = 0.0) -> Verdict:
    """Whether a step can forget at a share `c` of the fastest rate without harm.

    Easy: no conflict, or one that cannot be told from none (`|cos| <= 1.96 error`), or one that leaves 95 % of the
    fastest forgetting free of harm. Hard: more conflict than that, but `kappa <= kappa2`. Infeasible: `kappa > kappa2`,
    or nothing to follow.

    Args:
        gramian: of the whole model, `[2, 2]`.
        share: `c` in (0, 1].
        error: standard error of the cosine.
    """
    if gramian[0, 0] <= 0:
        return Verdict("infeasible", "The forget gradient is zero: no parameter that may move changes that loss.")
    if gramian[1, 1] <= 0:
        return Verdict("easy", "The retain gradient is zero: forgetting is free to first order; curvature decides.")
    cos, free = float(cosine(gramian)), float(free_share(gramian))
    if cos >= 0:
        return Verdict("easy", f"The objectives do not conflict (cosine {cos:+.2f}): a step can improve both.")
    if -cos <= SURE * error:
        return Verdict("easy", f"No conflict can be told from chance (cosine {cos:+.2f}, standard error {error:.2g}).")
    conflict = f"The objectives conflict (cosine {cos:+.2f}): {free:.0%} of the fastest forgetting is free of harm"
    if share > free:
        return Verdict("infeasible", f"{conflict}; {share:.0%} is not, every such step raises the retain loss.")
    if free >= SLIGHT:
        return Verdict("easy", f"{conflict}.".replace("conflict (", "conflict only slightly ("))
    left = -float(front(gramian, torch.tensor(share, dtype=gramian.dtype)))
    return Verdict("hard", f"{conflict}; {share:.0%} leaves {left:.0%} of the best retain improvement.")


def _product(gramian: Tensor) -> Tensor:
    """`A B` of every block."""
    return gramian[..., 0, 0].sqrt() * gramian[..., 1, 1].sqrt()
