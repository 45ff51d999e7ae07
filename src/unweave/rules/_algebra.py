"""What the closed forms share: operations on a Gramian with relative guards, so that no scale is special."""

from __future__ import annotations

import torch
from torch import Tensor

# sin^2 of the angle at which two gradients count as one line: a Gramian in float64 gives it to +-9e-16 (measured), so
# here to a tenth. Gradients of less precision are on one line earlier: `gramian` sees to that.
COLLINEAR = 1.4e-14


def entries(gramian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`|g_u|^2, <g_u, g_r>, |g_r|^2` of every block, `[B]` each."""
    return gramian[..., 0, 0], gramian[..., 0, 1], gramian[..., 1, 1]


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient where the denominator is positive, 0 elsewhere: what a zero gradient contributes."""
    positive = denominator > 0
    return torch.where(positive, numerator / torch.where(positive, denominator, 1.0), 0.0)
