"""Targets that say nothing about the forgotten data: random labels, and flat logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unweave.errors import check
from unweave.losses._base import Batch, predictor
from unweave.tasks import Task


@dataclass(frozen=True)
class RandomLabels:
    """Cross-entropy against labels drawn uniformly at random, `-log p_model(z | x)` with `z ~ U{classes}`.

    The labels come from torch's random state, which `Objectives` sets anew from the seed of each pair: every
    look at a pair sees the same labels, and an example gets new ones when it is next drawn, once in a pass
    over the forget set.

    Args:
        task: one with `predictions`; the number of classes, or tokens, is theirs.
        exclude_true: draw among the wrong labels only.

    Raises:
        UnsupportedError: the task shows no predictions.

    Golatkar et al., CVPR 2020 (arXiv:1911.04933); SalUn, Fan et al., ICLR 2024 (arXiv:2310.12508), whose code
    draws among all labels, the true one included, at the start of every epoch.
    """

    task: Task
    exclude_true: bool = False

    def __post_init__(self) -> None:
        check(self)
        predictor(self.task, "Random relabelling")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The cross-entropy of each example with its random label, `[b]`."""
        seen = predictor(self.task, "Random relabelling").predictions(model, batch)
        labels = self._draw(seen.targets, seen.logits.shape[-1])
        return seen.owners.reduced(F.cross_entropy(seen.logits, labels, reduction="none"))

    def _draw(self, labels: Tensor, classes: int) -> Tensor:
        shift = torch.randint(int(self.exclude_true), classes, labels.shape).to(labels.device)
        return (labels + shift) % classes


@dataclass(frozen=True)
class Flattening:
    """PDU's logit-margin flattening, `(max_k z_k - mean_k z_k)^2`: 0 at a uniform prediction, and never less.

    Args:
        task: one with `predictions`.

    Raises:
        UnsupportedError: the task shows no predictions.

    Entesari et al. (arXiv:2506.05314).
    """

    task: Task

    def __post_init__(self) -> None:
        predictor(self.task, "Logit flattening")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The squared margin of each example, `[b]`."""
        seen = predictor(self.task, "Logit flattening").predictions(model, batch)
        return seen.owners.reduced((seen.logits.amax(-1) - seen.logits.mean(-1)).square())
