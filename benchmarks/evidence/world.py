"""A small world for many trainings: a base set, records that may be forgotten, and holdout examples like them.

Records carry wrong labels, as canaries do: every model that saw them remembers them, so that an attack that finds
nothing is an attack that could have found something. `--records real` takes them as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from unweave.modalities.images import sources
from unweave.modalities.images.sources import SOURCES
from unweave.modalities.images.tensors import TensorImages
from unweave.modalities.images.training import Network, Training, train
from unweave.tasks import Vision


@dataclass(frozen=True)
class Size:
    """How much of a data set, and how long.

    Args:
        base, records, holdout, test: examples.
        epochs, batch: of a training.
        steps, forget_batch, retain_batch: of a method.
        models: originals, and retrained models.
        shadows: of U-LiRA.
        draws: of the audit's coins.
        relearned: models that are relearned and rounded.
        tolerated: fall of held-out retain accuracy; less cannot be decided on so few examples.
        rates: what the baselines' rates are multiplied by.
    """

    base: int
    records: int
    holdout: int
    test: int
    epochs: int
    batch: int
    steps: int
    forget_batch: int
    retain_batch: int
    models: int
    shadows: int
    draws: int
    relearned: int
    tolerated: float
    rates: float


SIZES = {
    "digits": Size(600, 100, 200, 240, 40, 64, 100, 64, 128, 32, 32, 5, 8, 0.06, 1.0),
    "cifar10": Size(400, 60, 200, 400, 16, 50, 30, 20, 44, 4, 16, 1, 4, 0.15, 0.1),
}


class Perceptron(nn.Module):
    """64 pixels, 64 hidden units, ten classes: a training takes a third of a second."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [b, 10] of images [b, 1, 8, 8]."""
        return self.layers(images)


@dataclass(frozen=True, eq=False)
class World:
    """What all experiments share.

    Args:
        base: trained on in any case.
        records: may be trained on, and forgotten.
        holdout: like the records, never trained on.
        test: unseen, with its right labels.
        build: an untrained network from a seed.
        training: how a model is trained.
        size: how long everything is.
        enough: accuracy on the records at which a method may stop; None: the original's on unseen examples.
    """

    base: TensorImages
    records: TensorImages
    holdout: TensorImages
    test: TensorImages
    build: Callable[[int], nn.Module]
    training: Training
    size: Size
    enough: float | None
    task: Vision = field(default_factory=Vision)

    def with_records(self, chosen: np.ndarray) -> TensorImages:
        """The base set and the records of a mask."""
        part = self.records.subset(np.flatnonzero(chosen))
        images = torch.cat([self.base.images, part.images])
        return replace(self.base, images=images, labels=torch.cat([self.base.labels, part.labels]))

    def trained(self, chosen: np.ndarray, seed: int) -> nn.Module:
        """A model of the base set and the records of a mask."""
        return train(self.build(seed), self.with_records(chosen), replace(self.training, seed=seed))


def world(data: str, path: Path | None, records: str, seed: int = 0) -> World:
    """The world of a data set, drawn from a seed."""
    source, size = sources.load(data, path), SIZES[data]
    name, usual = SOURCES[data].network, SOURCES[data].training
    rng = np.random.default_rng(seed)
    rows, unseen = rng.permutation(len(source.train)), rng.permutation(len(source.test))
    base = source.train.subset(rows[: size.base])
    chosen = source.train.subset(rows[size.base : size.base + size.records])
    holdout = source.test.subset(unseen[: size.holdout])
    test = source.test.subset(unseen[size.holdout : size.holdout + size.test])
    if records == "wrong":
        classes = len(source.classes)
        shift = rng.integers(1, classes, len(chosen)), rng.integers(1, classes, len(holdout))
        chosen = chosen.relabelled((chosen.labels.numpy() + shift[0]) % classes)
        holdout = holdout.relabelled((holdout.labels.numpy() + shift[1]) % classes)
    network = Network(name, len(source.classes), source.channels)
    build = network.build if data != "digits" else _perceptron
    training = replace(usual, epochs=size.epochs, batch=size.batch, flip=False, shift=0)  # learnt by heart
    return World(base, chosen, holdout, test, build, training, size, 0.02 if records == "wrong" else None)


def _perceptron(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Perceptron()
