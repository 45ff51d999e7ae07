"""Targets that say nothing about the forgotten data: random labels, and flat logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unweave.arguments import check_fields
from unweave.data.draws import numbers
from unweave.devices import finest
from unweave.execution import draws
from unweave.losses._base import Batch, Owners, predictor
from unweave.tasks import Task


@dataclass(frozen=True)
class RandomLabels:
    """Cross-entropy against labels drawn uniformly at random, `-log p_model(z | x)` with `z ~ U{classes}`.

    Classes whose logit is -inf, which cannot come, are not drawn.

    An example's label is a function of the seed, the epoch and the example (`Pairs`): every look sees the same
    one, however a step is divided into micro-batches or over ranks, and an example gets a new one in each pass
    over the forget set. Outside `Objectives`, and for pairs that say no `draws`, they come from torch's random
    state.

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
        check_fields(self)
        predictor(self.task, "Random relabelling")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The cross-entropy of each example with its random label, `[b]`."""
        seen = predictor(self.task, "Random relabelling").predictions(model, batch)
        labels = self._draw(seen.targets, seen.owners, ~seen.logits.detach().isneginf())
        return seen.owners.reduced(F.cross_entropy(seen.logits, labels, reduction="none"))

    def _draw(self, labels: Tensor, owners: Owners, possible: Tensor) -> Tensor:
        least, device = int(self.exclude_true), labels.device
        own = draws(owners.count).to(device)[owners.of().to(device)]
        numbered = numbers(own, owners.place().to(device))
        if bool(possible.all()):
            classes = possible.shape[-1]
            return (labels + least + numbered % (classes - least)) % classes
        places = possible.cumsum(-1)  # a class that cannot come is drawn by nobody
        count = places[:, -1].clamp(min=1 + least)
        place = places.gather(1, labels[:, None])[:, 0] - 1
        drawn = (place + least + numbered % (count - least)) % count
        return torch.searchsorted(places, drawn[:, None] + 1)[:, 0]


@dataclass(frozen=True)
class Flattening:
    """PDU's logit-margin flattening, `(max_k z_k - mean_k z_k)^2`: 0 at a uniform prediction, and never less.

    The mean is over the classes that can come, those whose logit is not -inf.

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
        never = seen.logits.isneginf()
        share = finest(~never).mean(-1).to(seen.logits.dtype)
        mean = seen.logits.masked_fill(never, 0.0).mean(-1) / share
        return seen.owners.reduced((seen.logits.amax(-1) - mean).square())
