"""Losses on what a block of the model gives: RMU's two sides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unweave.arguments import SEEDS, check_fields
from unweave.losses._base import Batch, language
from unweave.losses.original import Reference, standing
from unweave.tasks import Task


@dataclass(frozen=True)
class Misdirection:
    """RMU's forget side, `mean over the answer's tokens of |h_t - c u|^2 / d`: activations toward a random direction.

    `u` is drawn in `[0, 1)^d` from a seed of its own and has unit norm.

    Args:
        task: `tasks.Language()`.
        layer: the block, from 0; those above it are not run. None is the eighth, or the middle one of fewer than 16.
        scale: c.
        seed: of u.

    Li et al., ICML 2024 (arXiv:2403.03218). Differs from published code: the direction does not come from
    the global random state.
    """

    task: Task
    layer: int | None = None
    scale: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, seed=SEEDS)
        language(self.task, "RMU")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        states, owners = language(self.task, "RMU").states(model, batch, self.layer)
        u = torch.rand(states.shape[-1], generator=torch.Generator().manual_seed(self.seed))
        target = (self.scale * u / u.norm()).to(states)
        return owners.mean((states - target).square().mean(-1))


@dataclass(frozen=True)
class Anchor:
    """RMU's retain side, `mean over the answer's tokens of |h_t - h_t^0|^2 / d`: activations stay as they were.

    Args:
        task: `tasks.Language()`.
        reference: the original model, or what stands for it.
        layer: the block, from 0; None is as for `Misdirection`.
    """

    task: Task
    reference: Reference
    layer: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        language(self.task, "RMU")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        task = language(self.task, "RMU")
        with torch.no_grad(), standing(self.reference, model) as original:
            before, _ = task.states(original, batch, self.layer)
        states, owners = task.states(model, batch, self.layer)
        return owners.mean((states - before).square().mean(-1))
