"""Aggregators of multi-task learning, through torchjd's own weightings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from unweave.arguments import check_fields
from unweave.errors import UnsupportedError
from unweave.rules._base import GradientRule

# Aggregators whose weights are a function of the Gramian, made from torchjd.aggregation and torchjd.linalg.
# CAGrad's and UPGrad's own guards, 1e-4, would stop at, or overrun, a retain gradient that has nearly gone.
AGGREGATORS: dict[str, Callable[[Any, Any], Any]] = {
    "AlignedMTL": lambda jd, _: jd.AlignedMTL(),  # scale_mode="min", as in the paper
    "CAGrad": lambda jd, _: jd.CAGrad(c=0.5, norm_eps=1e-8),  # the paper takes 0.4 or 0.5 for c
    "IMTLG": lambda jd, _: jd.IMTLG(),
    "MGDA": lambda jd, _: jd.MGDA(),  # for two objectives its first line search is exact
    "UPGrad": lambda jd, linalg: jd.UPGrad(projector=linalg.QuadprogProjector(reg_eps=1e-14)),
}


@dataclass
class TorchJD(GradientRule):
    """Weights the two gradients as an aggregator of the `torchjd` package does.

    `w = gramian_weighting(G / trace G)` block by block: every one of these aggregators is invariant to the
    common scale of the gradients, so its absolute guards act on numbers near 1. A block of zeros gets the
    weights 0. UPGrad protects a gradient that is up to 1e5 times shorter than the other; CAGrad takes 1e8 for
    Pareto stationary.

    Args:
        aggregator: a name in `AGGREGATORS`.

    Raises:
        ConfigurationError: an unknown aggregator.
        UnsupportedError: torchjd, or a solver that the aggregator needs, is not installed.

    Quinton and Rey, "Jacobian descent for multi-objective optimization" (arXiv:2406.16232), and the
    aggregator's own paper. PCGrad and the Nash bargain are rules of their own here: closed, without a solver.
    """

    aggregator: str = "UPGrad"

    def __post_init__(self) -> None:
        check_fields(self, aggregator=AGGREGATORS)
        _weighting(self.aggregator)

    def weights(self, gramian: Tensor) -> Tensor:
        """`[B, 2, 2] -> [B, 2]`."""
        weighting = _weighting(self.aggregator)
        rows = torch.zeros(gramian.shape[:2], dtype=gramian.dtype)
        for row, gram in zip(rows, gramian, strict=True):
            scale = gram.trace()
            if scale > 0:
                row.copy_(weighting(gram / scale))
        return rows


@cache
def _weighting(name: str) -> Any:
    try:
        modules = import_module("torchjd.aggregation"), import_module("torchjd.linalg")
        return AGGREGATORS[name](*modules).gramian_weighting
    except ImportError as missing:
        raise UnsupportedError(
            f'The aggregator {name} needs torchjd ({missing}). Install it with: pip install "unweave[moo]"'
        ) from missing
