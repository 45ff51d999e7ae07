"""Targets that say nothing about the forgotten data: random labels, and flat logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unweave.losses._base import Batch, classifier
from unweave.tasks import Task


@dataclass(frozen=True)
class RandomLabels:
    """Cross-entropy against labels drawn uniformly at random, `-log p_model(z | x)` with `z ~ U{classes}`.

    The labels come from torch's random state, which `Objectives` sets anew from the seed of each pair: every
    look at a pair sees the same labels, and an example gets new ones when it is next drawn, once in a pass
    over the forget set.

    Args:
        task: one with `logits`; the number of classes is theirs.
        exclude_true: draw among the wrong labels only.

    Raises:
        UnsupportedError: the task has no logits.

    Golatkar et al., CVPR 2020 (arXiv:1911.04933); SalUn, Fan et al., ICLR 2024 (arXiv:2310.12508), whose code
    draws among all labels, the true one included, at the start of every epoch.
    """

    task: Task
    exclude_true: bool = False

    def __post_init__(self) -> None:
        classifier(self.task, "Random relabelling")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The cross-entropy of each example with its random label, `[b]`."""
        logits = classifier(self.task, "Random relabelling").logits(model, batch)
        return F.cross_entropy(logits, self._draw(batch[1], logits.shape[-1]), reduction="none")

    def _draw(self, labels: Tensor, classes: int) -> Tensor:
        shift = torch.randint(int(self.exclude_true), classes, labels.shape).to(labels.device)
        return (labels + shift) % classes


@dataclass(frozen=True)
class Flattening:
    """PDU's logit-margin flattening, `(max_k z_k - mean_k z_k)^2`: 0 at a uniform prediction, and never less.

    Args:
        task: one with `logits`.

    Raises:
        UnsupportedError: the task has no logits.

    Entesari et al. (arXiv:2506.05314).
    """

    task: Task

    def __post_init__(self) -> None:
        classifier(self.task, "Logit flattening")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The squared margin of each example, `[b]`."""
        logits = classifier(self.task, "Logit flattening").logits(model, batch)
        return (logits.amax(-1) - logits.mean(-1)).square()
