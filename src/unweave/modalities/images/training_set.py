"""Training images, of which several requests name some."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from unweave.contract.sets import halves
from unweave.evaluation.outputs import predict
from unweave.evaluation.signal import signals
from unweave.modalities._base import Data, Membership, Rows
from unweave.modalities.images import job as prepare
from unweave.modalities.images import sources
from unweave.modalities.images.job import ImageJob
from unweave.modalities.images.recipe import ImageRecipe
from unweave.modalities.images.tensors import Source


@dataclass(frozen=True)
class ImageRecords:
    """The training images of a source."""

    source: Source

    def fingerprint(self) -> str:
        """Of the training images."""
        return self.source.train.fingerprint()

    def named(self, recipe: ImageRecipe) -> Rows:
        """As the recipe's own splitting has it."""
        assert recipe.forget is not None
        return prepare.split_of(recipe.forget, self.source)[2].forget

    def job(self, recipe: ImageRecipe) -> ImageJob:
        """On the images that are there."""
        return prepare.request(recipe, self.source)

    def rows(self, job: ImageJob) -> Rows:
        """Of the split."""
        return job.split.forget

    def holding(self, jobs: Sequence[ImageJob], rows: tuple[Rows, Rows]) -> list[ImageJob]:
        """By row of the training set."""
        guard, final = (jobs[-1].split.retain[part] for part in rows)
        return [replace(job, held=(guard, final)) for job in jobs]

    def once_more(self, last: ImageJob, others: Sequence[ImageJob]) -> ImageJob:
        """With a holdout of the labels of all."""
        rows = np.unique(np.concatenate([other.split.forget for other in others]))
        return replace(
            last,
            text=f"{len(others)} earlier requests once more",
            split=replace(last.split, forget=rows),
            holdout=prepare.exchangeable(last.test, last.train.labels[rows]),
        )

    def digests(self, rows: Rows) -> list[bytes]:
        """Of an image as it is stored, and its label."""
        chosen = self.source.train.subset(rows)
        images, labels = chosen.images.contiguous().numpy(), chosen.labels.numpy()
        pairs = zip(images, labels, strict=True)
        return [hashlib.sha256(image.tobytes() + label.tobytes()).digest() for image, label in pairs]

    def apart(self, job: ImageJob) -> Sequence[Data]:
        """Retain and test set."""
        return job.retain, job.test

    def membership(self, job: ImageJob, model: nn.Module, seed: int) -> Membership | None:
        """The loss, and the pixels."""
        if job.holdout is None:
            return None
        rows = halves(job.holdout, seed)[1]
        holdout = job.holdout if rows is None else job.holdout.subset(rows)
        outputs = [predict(model, job.task, data) for data in (job.forget, holdout)]
        forget, unseen = (signals(o.logits.numpy(), o.labels.numpy())["loss"] for o in outputs)
        return Membership(forget, unseen, (job.forget.images.numpy(), holdout.images.numpy()))


def training_set(recipe: ImageRecipe) -> ImageRecords:
    """The training set that a recipe names.

    Raises:
        ConfigurationError: it cannot be read.
    """
    return ImageRecords(sources.load(recipe.data.source, recipe.data.path))
