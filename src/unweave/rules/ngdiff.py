"""NGDiff: both gradients at unit length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unweave.rules._base import GradientRule, entries, ratio


@dataclass
class NGDiff(GradientRule):
    """Adds the two normalised gradients: `d = g_u/|g_u| + g_r/|g_r|`.

    The direction bisects the two, so neither objective rises to first order: `<g_i, d> = |g_i| (1 + cos) >=
    0`. Under gradient ascent `g_u = -grad L_f`, which makes it the difference that gives the method its name.

    Jin et al., "Unlearning as multi-task optimization: a normalized gradient difference approach with an
    adaptive learning rate", NAACL 2025 (arXiv:2410.22086). Differs from the authors' code: their automatic
    learning rate (GeN) is left to the trust region or to the optimizer.
    """

    def weights(self, gramian: Tensor) -> Tensor:
        """`[B, 2, 2] -> [B, 2]`; a gradient that is 0 gets the weight 0."""
        ff, _, rr = entries(gramian)
        one = torch.ones_like(ff)
        return torch.stack([ratio(one, ff.sqrt()), ratio(one, rr.sqrt())], -1)
