"""The requests of the comparison, the models at the ends of their scale, and when a run is stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import stopping
import torch
from torch import nn

from unweave.data.splits import Split, by_class, by_index, by_random_fraction, hardness_mix
from unweave.evaluation import auc, predict
from unweave.loop import Stop
from unweave.modalities.images import sources
from unweave.modalities.images.job import ImageJob
from unweave.modalities.images.recipe import poison_random, poison_swap
from unweave.modalities.images.sources import SOURCES
from unweave.modalities.images.tensors import Source, TensorImages
from unweave.modalities.images.training import CIFAR10, DIGITS, Network, Training, seconds_spent
from unweave.tasks import Vision

REQUESTS = ("poison", "class", "random", "mix")


@dataclass(frozen=True)
class Suite:
    """A data set of the comparison.

    Attributes:
        source: where its images come from.
        training: of its reference models.
        steps: of a run, at most.
        rows: drawn from the training set at random, the same for all seeds; None takes all.
    """

    source: str
    training: Training
    steps: int
    rows: int | None = None

    def load(self, path: Path | None) -> Source:
        """Its images."""
        source = sources.load(self.source, path)
        if self.rows is None:
            return source
        drawn = torch.randperm(len(source.train), generator=torch.Generator().manual_seed(0))[: self.rows]
        return replace(source, train=source.train.subset(drawn.sort().values))


SUITES = {
    "digits": Suite("digits", DIGITS, 150),
    "cifar10": Suite("cifar10", CIFAR10, 100),
    "cifar10-10k": Suite("cifar10", replace(CIFAR10, epochs=12), 100, rows=10_000),
}
LOOK = 1000  # examples of a set, at most, that a look at the target reads
SCORED = 5_000  # retain examples, at most, that a model is scored on


def request(suite: Suite, source: Source, name: str, seed: int) -> ImageJob:
    """A request on digits or CIFAR-10 by its name; the same rows as `benchmarks/cifar10/train.py` trains without."""
    train, digits = source.train, source.name == "digits"
    count, classes = len(train), len(source.classes)
    if name == "poison":
        labels, rows = (
            poison_random(train.labels, 0.1, classes, seed) if digits else poison_swap(train.labels, 3, 5, 0.5, seed)
        )
        train, split = train.relabelled(labels), by_index(rows, count)
    else:
        split = _split(name, train, seed if digits else 0, seed)
    size = Network(SOURCES[source.name].network, classes, source.channels)
    return ImageJob(name, train, source.test, split, size, replace(suite.training, seed=seed))


def _split(name: str, train: TensorImages, forgotten: int, seed: int) -> Split:
    if name == "class":
        return by_class(train.labels, forgotten)
    if name == "mix":
        return hardness_mix(train.labels, forgotten, 0.5, seed)
    return by_random_fraction(len(train), 0.1, seed)


def retrained_seeds(source: str, seed: int) -> tuple[int, int]:
    """Training seeds of the reference and of the second retrained model."""
    return (seed + 1, seed + 2) if source == "digits" else (seed, (seed + 1) % 3)


def is_trained(asked: ImageJob, seed: int | None) -> bool:
    """Whether the cache holds the original (None) or the model retrained from a seed."""
    data = asked.train if seed is None else asked.retain
    training = asked.training if seed is None else replace(asked.training, seed=seed)
    return seconds_spent(asked.network, data, training) is not None


def scored(asked: ImageJob) -> TensorImages:
    """The retain examples that models are scored on."""
    return _some(asked.retain, SCORED)


class Target:
    """The level of forgetting at which a run ends: the retrained model's own, on the same examples.

    The accuracy on the forget set; for a random request the AUC of the loss-threshold attack against the test set.
    """

    def __init__(self, asked: ImageJob, retrained: nn.Module) -> None:
        self.task: Vision = asked.task
        self.by_membership = asked.text == "random"
        self.forget, self.test = _some(asked.forget, LOOK), _some(asked.test, LOOK)
        self.value = self._measured(retrained)

    def _measured(self, model: nn.Module) -> float:
        forget = predict(model, self.task, self.forget)
        if self.by_membership:
            return auc(forget.margin, predict(model, self.task, self.test).margin)
        return float(forget.correct.mean())

    def met(self, model: nn.Module) -> bool:
        """Whether a model forgot as much as the retrained one."""
        return self._measured(model) <= self.value

    def criterion(self, model: nn.Module) -> Stop:
        """The same rule for every method, looked at every few steps."""
        if self.by_membership:
            return stopping.membership(model, self.task, self.forget, self.test, self.value)
        return stopping.forget_accuracy(model, self.task, self.forget, self.value)


def _some(data: TensorImages, most: int) -> TensorImages:
    """The same `most` examples each time, drawn at random; all if there are no more."""
    if len(data) <= most:
        return data
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:most]
    return data.subset(rows.sort().values)
