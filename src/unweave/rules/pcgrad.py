"""PCGrad: each conflicting gradient loses its component against the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unweave.rules._base import GradientRule, entries, ratio


@dataclass
class PCGrad(GradientRule):
    """Projects each of two conflicting gradients onto the normal plane of the other, and adds them.

    With `c = min(<g_u, g_r>, 0)`:  `d = (g_u - c/|g_r|^2 g_r) + (g_r - c/|g_u|^2 g_u)`,
    that is `w = (1 - c/|g_u|^2, 1 - c/|g_r|^2)`. Neither objective rises to first order: `<g_i, d> >= 0`.

    Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020 (arXiv:2001.06782), algorithm 1. This
    is the paper's sum; the mean, which some libraries use, is half of it. With two objectives the order that
    the paper draws at random does not matter. Unlearning code that takes `+grad L_f` for the forget task
    projects exactly when there is no conflict; here `g_u` is the gradient of the *minimised* forget
    objective.
    """

    def weights(self, gramian: Tensor) -> Tensor:
        """`[B, 2, 2] -> [B, 2]`; a block whose one gradient is 0 keeps the other as it is."""
        ff, fr, rr = entries(gramian)
        conflict = fr.clamp(max=0)
        return torch.stack([1 - ratio(conflict, ff), 1 - ratio(conflict, rr)], -1)
