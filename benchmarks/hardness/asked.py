"""The requests that the quote is validated on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from unweave.data.splits import Split, by_class, by_index, by_random_fraction, hardness_mix
from unweave.evaluation import predict
from unweave.modalities.images.job import ImageJob
from unweave.modalities.images.recipe import poison_random, poison_swap
from unweave.modalities.images.sources import SOURCES
from unweave.modalities.images.tensors import Source, TensorImages
from unweave.modalities.images.training import Network, seconds_spent

MIXED = {"digits": (0, 4, 8), "cifar10": (0, 3, 5)}
RHO = (0.25, 0.5, 0.75)
PLANTED = {"digits": (0.05, 0.1, 0.2), "cifar10": ()}


def requests(source: Source, seed: int, cached_only: bool) -> Iterator[ImageJob]:
    """Whole and half classes, HAMU's mixes, random tenths, wrong labels, near-duplicates, the surest and least sure.

    All but the wrong labels share one original model. With `cached_only`, requests whose original is not in the cache
    are left out.
    """
    train, digits = source.train, source.name == "digits"
    n, classes = len(train), len(source.classes)
    labels = train.labels.numpy()

    def made(text: str, split: Split, data: TensorImages = train) -> ImageJob:
        network, training = SOURCES[source.name].network, SOURCES[source.name].training
        size = Network(network, classes, source.channels)
        return ImageJob(text, data, source.test, split, size, replace(training, seed=seed))

    plain = made("class 0", by_class(labels, 0))
    if _known(plain, cached_only):
        for k in range(classes):
            yield made(f"class {k}", by_class(labels, k))
        for k in MIXED[source.name]:
            for rho in RHO:
                yield made(f"mix {k} {rho}", hardness_mix(labels, k, rho, seed))
        for draw in (seed, seed + 100):
            yield made(f"random {draw}", by_random_fraction(n, 0.1, draw))
        for k in (2, 7):
            members = np.flatnonzero(labels == k)
            yield made(f"half {k}", by_index(members[: len(members) // 2], n))
        if digits:
            near, far = _neighbours(train)
            yield made("near-duplicates", by_index(near, n))
            yield made("isolated", by_index(far, n))
        sure, unsure = _by_loss(plain.original(), train, plain)
        yield made("surest", by_index(sure, n))
        yield made("least sure", by_index(unsure, n))
    for share in PLANTED[source.name]:
        wrong, rows = poison_random(labels, share, classes, seed)
        asked = made(f"poison {share}", by_index(rows, n), train.relabelled(wrong))
        if _known(asked, cached_only):
            yield asked
    wrong, rows = poison_swap(labels, 3, 5, 0.5, seed)
    asked = made("swapped 3 5", by_index(rows, n), train.relabelled(wrong))
    if _known(asked, cached_only):
        yield asked


def some(data: TensorImages, most: int) -> TensorImages:
    """The same `most` examples each time, drawn at random; all if there are no more."""
    if len(data) <= most:
        return data
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:most]
    return data.subset(rows.sort().values)


def kept_test(asked: ImageJob) -> TensorImages:
    """Test examples of the classes that the retain set has; a class that is to go is no utility."""
    return asked.test.subset(torch.isin(asked.test.labels, asked.retain.labels.unique()).nonzero()[:, 0])


def _known(asked: ImageJob, cached_only: bool) -> bool:
    return not cached_only or seconds_spent(asked.network, asked.train, asked.training) is not None


def _neighbours(train: TensorImages) -> tuple[Tensor, Tensor]:
    """A tenth each: rows whose nearest neighbour of the same class stays and is nearest; and farthest."""
    pixels = train.images.float().flatten(1)
    distance = torch.cdist(pixels, pixels)
    distance[train.labels[:, None] != train.labels] = torch.inf
    distance.fill_diagonal_(torch.inf)
    nearest, partner = distance.min(1)
    chosen: list[int] = []
    stays: set[int] = set()
    for row in nearest.argsort().tolist():
        if row not in stays and int(partner[row]) not in chosen:
            chosen.append(row)
            stays.add(int(partner[row]))
        if len(chosen) == len(train) // 10:
            break
    return torch.tensor(chosen), nearest.argsort()[-(len(train) // 10) :]


def _by_loss(model: nn.Module, train: TensorImages, asked: ImageJob) -> tuple[np.ndarray, np.ndarray]:
    """Of at most 10,000 rows the tenth with the largest margin, and the tenth with the least."""
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:10_000])
    margin = predict(model, asked.task, train.subset(rows)).margin
    order = rows[np.argsort(margin)]
    tenth = len(order) // 10
    return order[-tenth:], order[:tenth]
