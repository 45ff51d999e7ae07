"""GRU: the forget gradient, rectified so that it does not raise the retain loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unweave.rules._base import GradientRule, entries, ratio


@dataclass
class GRU(GradientRule):
    """Projects the forget gradient onto the half-space in which the retain loss does not rise.

    `d = g_u - min(<g_u, g_r>, 0)/|g_r|^2 g_r`: untouched without a conflict, orthogonal to `g_r` with one.
    The retain gradient steers and is never added, so `<g_r, d> >= 0` and `<g_u, d> >= 0`.

    Wang et al., "GRU: mitigating the trade-off between unlearning and retention for LLMs", ICML 2025
    (arXiv:2503.09117). Differs from the authors' code: no moving average of the retain gradient, which needs
    a third buffer of the model's size (use a larger retain batch), and no clipping of the ingredients.
    """

    def weights(self, gramian: Tensor) -> Tensor:
        """`[B, 2, 2] -> [B, 2]`; a block whose retain gradient is 0 keeps the forget gradient as it is."""
        _, fr, rr = entries(gramian)
        return torch.stack([torch.ones_like(rr), -ratio(fr.clamp(max=0), rr)], -1)
