"""MUNBa: the Nash bargaining solution for two players."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unweave.rules._base import COLLINEAR, GradientRule, entries, ratio


@dataclass
class Nash(GradientRule):
    """The bargain in which each objective gains as much as its own weight allows: `G a = 1/a`.

    For two gradients at the angle phi the solution is closed: `a_i = 1 / (|g_i| sqrt(1 + cos phi))`, so the
    direction is NGDiff's, always of length sqrt(2): `d = (g_u/|g_u| + g_r/|g_r|) / sqrt(1 + cos phi)`, and
    `<g_i, d> = 1/a_i > 0`.

    Wu and Harandi, "MUNBa: machine unlearning via Nash bargaining", ICCV 2025 (arXiv:2411.15537). Opposed
    gradients have no bargain, the model is Pareto stationary: the weights are 0 where `1 + cos phi <= 7e-15`,
    below which a Gramian in float64 does not tell the angle from 180 degrees. Published ports of the formula fail `G
    a = 1/a`: the forget weight turns negative whenever the gradients agree.
    """

    def weights(self, gramian: Tensor) -> Tensor:
        """`[B, 2, 2] -> [B, 2]`; a gradient that is 0 gets the weight 0, and the other is normalised."""
        ff, fr, rr = entries(gramian)
        u, r = ff.sqrt(), rr.sqrt()
        bargain, least = 1 + ratio(ratio(fr, u), r), COLLINEAR / 2
        share = torch.where(bargain > least, bargain.clamp_min(least).rsqrt(), 0.0)
        return torch.stack([ratio(share, u), ratio(share, r)], -1)
