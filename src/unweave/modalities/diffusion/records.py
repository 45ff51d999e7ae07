"""Training images of a diffusion model that several requests name some of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from unweave.contract.sets import halves
from unweave.data.batches import moved
from unweave.execution import device_of
from unweave.modalities._base import Data, Membership, Rows
from unweave.modalities.diffusion.build import Around, around_of, pictures_of, prompts_of, request, split_of
from unweave.modalities.diffusion.data import Conditioned
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.modalities.diffusion.recipe import DiffusionRecipe
from unweave.modalities.diffusion.sources import Pictures
from unweave.modalities.diffusion.view import gone
from unweave.modalities.images.tensors import Source
from unweave.modules import evaluating
from unweave.tasks import Diffusion, Known

_READ = 64  # examples of one pass, before their looks


@dataclass(frozen=True)
class DiffusionRecords:
    """The training images of a source."""

    pictures: Pictures

    @property
    def source(self) -> Source:
        """The images as they are."""
        return self.pictures.load()

    def fingerprint(self) -> str:
        """Of the training images."""
        return self.source.train.fingerprint()

    def ids(self) -> None:
        """Nobody says."""

    def named(self, recipe: DiffusionRecipe) -> Rows:
        """As the recipe's own splitting has it."""
        assert recipe.forget is not None
        asked = recipe.forget.prompts is not None
        prompts = prompts_of(recipe, self.pictures, around_of(recipe)) if asked else None
        return split_of(recipe.forget, self.pictures, prompts)[1].forget

    def job(self, recipe: DiffusionRecipe) -> DiffusionJob:
        """On the images that are there."""
        return request(recipe, self.pictures)

    def rows(self, job: DiffusionJob) -> Rows:
        """Of the split."""
        return job.split.forget

    def holding(self, jobs: Sequence[DiffusionJob], rows: tuple[Rows, Rows]) -> list[DiffusionJob]:
        """By row of the training set."""
        guard, final = (jobs[-1].split.retain[part] for part in rows)
        return [replace(job, held=(guard, final)) for job in jobs]

    def once_more(self, last: DiffusionJob, others: Sequence[DiffusionJob]) -> DiffusionJob:
        """With a holdout of the classes of all."""
        split = replace(last.split, forget=np.unique(np.concatenate([other.split.forget for other in others])))
        text = f"{len(others)} earlier requests once more"
        return replace(last, text=text, split=split, gone=gone(last.pictures.labels, split))

    def digests(self, rows: Rows) -> list[bytes]:
        """Of an image as it is stored, and its class."""
        chosen = self.source.train.subset(rows)
        pairs = zip(chosen.images.contiguous().numpy(), chosen.labels.numpy(), strict=True)
        return [hashlib.sha256(image.tobytes() + label.tobytes()).digest() for image, label in pairs]

    def apart(self, job: DiffusionJob) -> Sequence[Data]:
        """Retain and test set."""
        return job.retain, job.test

    def membership(self, job: DiffusionJob, model: nn.Module, seed: int) -> Membership | None:
        """The loss at low noise, and the pixels."""
        if not len(job.holdout):
            return None
        rows = halves(job.holdout, seed)[1]
        holdout = job.holdout if rows is None else job.holdout.subset(rows)
        forget, unseen = (_read(job.task, model, data) for data in (job.forget, holdout))
        return Membership(forget, unseen, (job.forget.x0.numpy(), holdout.x0.numpy()))


@torch.no_grad()
def _read(task: Diffusion, model: nn.Module, data: Conditioned) -> np.ndarray:
    """The score of every example, `[n]`, alike for every model."""
    found, device = list[Tensor](), device_of(model)
    with evaluating(model), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for rows in torch.arange(len(data)).split(_READ):
            found.append(Known(task).score(model, moved(data.batch(rows), device)).cpu().double())
    return torch.cat(found).numpy()


def training_set(recipe: DiffusionRecipe) -> DiffusionRecords:
    """The training set that a recipe names.

    Raises:
        ConfigurationError: it cannot be read.
    """
    return DiffusionRecords(pictures_of(recipe, around_of(recipe) if recipe.data.size is None else Around()))
