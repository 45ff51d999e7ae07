"""A recipe of a diffusion model becomes a job; and training images that several requests name some of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unweave.contract.sets import halves
from unweave.data.batches import moved
from unweave.data.checks import check_overlap
from unweave.data.splits import Split, by_class, without
from unweave.errors import ConfigurationError, gathered
from unweave.execution import device_of
from unweave.modalities import by_row
from unweave.modalities._base import Data, Membership, Rows
from unweave.modalities.diffusion import networks, sources
from unweave.modalities.diffusion.data import Conditioned
from unweave.modalities.diffusion.job import DiffusionJob, gone
from unweave.modalities.diffusion.networks import Network
from unweave.modalities.diffusion.recipe import DiffusionForget, DiffusionRecipe
from unweave.modalities.images.job import exchangeable
from unweave.modalities.images.tensors import Source, TensorImages, check_unseen
from unweave.modules import evaluating
from unweave.tasks import Diffusion, Known

_READ = 64  # examples of one pass, before their looks


def request(recipe: DiffusionRecipe, source: Source | None = None) -> DiffusionJob:
    """Loads the images of a recipe, if they are not given, splits them as it asks, and looks at the model's folder.

    Raises:
        ConfigurationError: the data or the model cannot be read, or do not fit each other or the request.
    """
    source = sources.load(recipe.data.source, recipe.data.path, recipe.data.size) if source is None else source
    wanted = recipe.forget
    assert wanted is not None, "a sequence asks for one request at a time"
    splits = [partial(split_of, each, source) for each in (wanted, *recipe.already)]
    (text, split), *others, (network, origin) = gathered(*splits, partial(_network, recipe, source))
    if others:
        split = without(split, [row for _, each in others for row in each.forget])
    training = network.trained
    if training is not None or recipe.training.arguments:
        usual = training or sources.SOURCES[recipe.data.source].training
        training = replace(usual, **recipe.training.arguments)
    network = replace(network, trained=training)
    labels = source.train.labels
    made = DiffusionJob(
        text,
        source,
        Conditioned.of(source.train),
        Conditioned.of(source.test),
        split,
        Conditioned.of(_holdout(source, labels[split.forget])),
        gone(labels, split),
        network,
        origin,
        training,
        recipe.evaluation,
        notes=tuple(_notes(recipe, network, origin)),
    )
    gathered(
        partial(check_overlap, made.forget, made.retain),
        partial(check_unseen, source.test, source.train),
        partial(_check_guidance, made),
    )
    return made


def split_of(wanted: DiffusionForget, source: Source) -> tuple[str, Split]:
    """The request in words, and the training rows to forget and to keep.

    Raises:
        ConfigurationError: a class or a row that is not there.
    """
    if wanted.class_ is not None:
        classes = by_row.class_numbers(wanted.class_, source.classes)
        split = by_class(source.train.labels, classes)
        return f"class {', '.join(source.classes[each] for each in classes)}", split
    return by_row.split_of(wanted, len(source.train))


def _holdout(source: Source, labels: Tensor) -> TensorImages:
    """None where a class of the forget set has no test image."""
    if set(labels.tolist()) - set(source.test.labels.tolist()):
        return source.test.subset([])
    return exchangeable(source.test, labels)


def _network(recipe: DiffusionRecipe, source: Source) -> tuple[Network, Path | None]:
    """What is unlearned, and the folder that it came from.

    Raises:
        ConfigurationError: it cannot be read, or is for other classes or images.
    """
    recipe.check_models()
    usual, channels = sources.SOURCES[recipe.data.source], source.channels
    height, width = source.train.images.shape[2:]
    if recipe.model.weights is None:
        how = replace(usual.training, **recipe.training.arguments)
        shape = (channels, height, width)
        return networks.unet(len(source.classes), shape, recipe.model.widths or usual.widths, how), None
    network, folder = networks.read(recipe.model.weights)
    network.null(len(source.classes))
    if network.shape != (channels, height, width):
        raise ConfigurationError(
            f"the model in {folder} draws images of {' x '.join(map(str, network.shape))} (channels, height, width), "
            f"and the data are {' x '.join(map(str, (channels, height, width)))}: give data.size, or other data"
        )
    return network, folder


def _notes(recipe: DiffusionRecipe, network: Network, origin: Path | None) -> list[str]:
    if origin is None:
        return []
    found = []
    if (place := networks.place_of(origin, network.part)).name != network.part:
        found.append(f"{place} holds the averaged weights, which are what is sampled: they are unlearned.")
    if network.trained is None and recipe.evaluation.retrained:
        found.append(
            "There is no retrained model to compare with: nobody says how the one in model.weights was trained. Give "
            "the recipe a training section, or set evaluation.retrained: 0."
        )
    return found


def _check_guidance(job: DiffusionJob) -> None:
    if job.how.guidance != 1 and job.task.null is None:
        raise ConfigurationError(
            f"evaluation.guidance is {job.how.guidance:g}, and the model has no condition that means none: it was "
            "never trained for guidance. Set it to 1."
        )


@dataclass(frozen=True)
class DiffusionRecords:
    """The training images of a source."""

    source: Source

    def fingerprint(self) -> str:
        """Of the training images."""
        return self.source.train.fingerprint()

    def named(self, recipe: DiffusionRecipe) -> Rows:
        """As the recipe's own splitting has it."""
        assert recipe.forget is not None
        return split_of(recipe.forget, self.source)[1].forget

    def job(self, recipe: DiffusionRecipe) -> DiffusionJob:
        """On the images that are there."""
        return request(recipe, self.source)

    def rows(self, job: DiffusionJob) -> Rows:
        """Of the split."""
        return job.split.forget

    def holding(self, jobs: Sequence[DiffusionJob], rows: tuple[Rows, Rows]) -> list[DiffusionJob]:
        """By row of the training set."""
        guard, final = (jobs[-1].split.retain[part] for part in rows)
        return [replace(job, held=(guard, final)) for job in jobs]

    def once_more(self, last: DiffusionJob, others: Sequence[DiffusionJob]) -> DiffusionJob:
        """With a holdout of the classes of all."""
        rows, labels = np.unique(np.concatenate([other.split.forget for other in others])), last.source.train.labels
        split = replace(last.split, forget=rows)
        return replace(
            last,
            text=f"{len(others)} earlier requests once more",
            split=split,
            holdout=Conditioned.of(_holdout(last.source, labels[rows])),
            gone=gone(labels, split),
        )

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
            found.append(Known(task).score(model, moved(data.batch(rows), device)).double().cpu())
    return torch.cat(found).numpy()


def training_set(recipe: DiffusionRecipe) -> DiffusionRecords:
    """The training set that a recipe names.

    Raises:
        ConfigurationError: it cannot be read.
    """
    return DiffusionRecords(sources.load(recipe.data.source, recipe.data.path, recipe.data.size))
