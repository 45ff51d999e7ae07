"""Labelled images held in memory, read a batch at a time, and the training and test parts of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unweave.data.batches import as_int64
from unweave.data.content import content
from unweave.data.protocol import Indices
from unweave.errors import ConfigurationError


@dataclass(frozen=True, eq=False)
class TensorImages(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels as two tensors; a batch is one `index_select`, not a loop over examples.

    `dataset[i]` and `dataset.batch(indices)` give float images: uint8 ones are divided by 255, then
    `(image - mean) / std` per channel.

    Args:
        images: [n, channels, height, width], uint8 or floating point.
        labels: [n], of any integer type or bool; kept as int64.
        mean: per channel, subtracted; empty for none.
        std: per channel, divided by; empty for none.

    Raises:
        ConfigurationError: the shapes or types do not fit each other, or a float image holds NaN or infinity.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        faults = []
        if self.images.ndim != 4 or not (self.images.dtype == torch.uint8 or self.images.is_floating_point()):
            faults.append(
                "images must be uint8 or float [n, channels, height, width], "
                f"found {self.images.dtype} {list(self.images.shape)}"
            )
        elif self.images.is_floating_point() and not bool(torch.isfinite(self.images).all()):
            bad = int((~torch.isfinite(self.images).flatten(1).all(1)).sum())
            faults.append(f"images must be finite, found NaN or infinity in {bad} of {len(self.images)}: remove them")
        object.__setattr__(self, "labels", as_int64(self.labels))
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != torch.int64:
            faults.append(
                f"labels must be integers [{len(self.images)}], found {self.labels.dtype} {list(self.labels.shape)}"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and self.images.ndim == 4 and len(values) != self.images.shape[1]:
                faults.append(f"{name} needs one value per channel ({self.images.shape[1]}), found {len(values)}")
        if faults:
            raise ConfigurationError(faults)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._float(self.images[index][None])[0], self.labels[index]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        return list(zip(*self.batch(indices), strict=True))

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Float images [b, channels, height, width] and labels [b] of the given rows, in that order."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return self._float(self.images.index_select(0, rows)), self.labels.index_select(0, rows)

    def subset(self, indices: Indices) -> TensorImages:
        """A copy of the given rows."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return replace(self, images=self.images.index_select(0, rows), labels=self.labels.index_select(0, rows))

    def relabelled(self, labels: Indices) -> TensorImages:
        """The same images with other labels [n]."""
        return replace(self, labels=torch.as_tensor(labels, dtype=torch.int64))

    @property
    def amounts(self) -> None:
        """One label each."""

    def digest(self, row: int) -> tuple[bytes, bool]:
        """Of the image, as it is kept, and its label."""
        return content((self.images[row], self.labels[row]))

    def repeated(self, row: int) -> bool:
        """No image is there twice on purpose."""
        return False

    def fingerprint(self) -> str:
        """SHA-256 over shape, type, normalisation, labels and every pixel."""
        digest = hashlib.sha256()
        digest.update(repr((list(self.images.shape), str(self.images.dtype), self.mean, self.std)).encode())
        digest.update(self.labels.contiguous().numpy().data)
        digest.update(self.images.contiguous().numpy().data)
        return digest.hexdigest()

    def _float(self, images: Tensor) -> Tensor:
        if images.dtype == torch.uint8:
            images = images.float().div_(255)
        if self.mean:
            images = images - images.new_tensor(self.mean)[:, None, None]
        if self.std:
            images = images / images.new_tensor(self.std)[:, None, None]
        return images


@dataclass(frozen=True, eq=False)
class Source:
    """A data set: a training part, a test part and the names of its classes.

    Raises:
        ConfigurationError: a part is empty, the two differ in shape, or a label is outside [0, len(classes)).
    """

    name: str
    train: TensorImages
    test: TensorImages
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        faults = []
        for part, data in (("training", self.train), ("test", self.test)):
            if not len(data):
                faults.append(f"the {part} part of {self.name} must hold at least one image, found 0")
            elif not 0 <= int(data.labels.min()) <= int(data.labels.max()) < len(self.classes):
                faults.append(
                    f"labels of the {part} part of {self.name} must be at least 0 and below "
                    f"{len(self.classes)} classes, found {int(data.labels.min())} to {int(data.labels.max())}"
                )
        shapes = [list(data.images.shape[1:]) for data in (self.train, self.test)]
        if shapes[0] != shapes[1]:
            faults.append(f"both parts of {self.name} must hold images of one shape, found {shapes[0]} and {shapes[1]}")
        if faults:
            raise ConfigurationError(faults)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the contents of both parts and the class names."""
        parts = (self.train.fingerprint(), self.test.fingerprint(), *self.classes)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.images.shape[1]


def check_unseen(test: TensorImages, train: TensorImages) -> None:
    """Refuse a test set that a model was trained on: an attack that compares with it would find nothing.

    Raises:
        ConfigurationError: images of the test set are, bit for bit and whatever their label, in the training set.
    """
    if shared := _also_in(test, train):
        first = ", ".join(f"test[{row}]" for row in shared[:5])
        raise ConfigurationError(
            f"test and holdout set must hold no training image; {len(shared)} of {len(test)} are in the "
            f"training set too (first: {first}): take them out of one of the two"
        )


def check_shared(forget: TensorImages, retain: TensorImages) -> None:
    """Refuse a picture that is to be forgotten under one label and kept under another.

    Raises:
        ConfigurationError: images of the forget set are, bit for bit and whatever their label, in the retain set.
    """
    if shared := _also_in(forget, retain):
        first = ", ".join(f"forget[{row}]" for row in shared[:5])
        raise ConfigurationError(
            f"forget and retain set must share no picture; {len(shared)} of {len(forget)} are in both, under other "
            f"classes or captions (first: {first}): take them out of one of the two"
        )


def _also_in(one: TensorImages, other: TensorImages) -> list[int]:
    """Rows whose image is in the other set, bit for bit."""
    there = set(map(_image_digest, other.images.numpy()))
    return [row for row, image in enumerate(one.images.numpy()) if _image_digest(image) in there]


def _image_digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
