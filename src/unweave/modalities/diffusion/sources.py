"""Where images to draw come from: built in, a folder with classes or captions, or the original, asked for concepts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from unweave.errors import ConfigurationError
from unweave.modalities.diffusion.captions import captioned, check_elsewhere, has_captions
from unweave.modalities.diffusion.training import Training
from unweave.modalities.images import sources as images
from unweave.modalities.images.image_folder import image_folder
from unweave.modalities.images.tensors import Source, TensorImages

DIGITS, SIZE = 1347, 32  # training images of the digits; pixels of a side of a picture, where nothing is said
CONCEPTS = "drawn_concepts"
"""The source whose pictures the original draws."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is known of images before any is read or drawn.

    Attributes:
        classes: names, or captions.
        labels: of the training images, `[n]`.
        tested: of the test images.
        load: reads or draws them.
        captions: whether the classes are captions.
    """

    classes: tuple[str, ...]
    labels: Tensor
    tested: Tensor
    load: Callable[[], Source]
    captions: bool = False

    @classmethod
    def of(cls, source: Source, *, captions: bool = False) -> Pictures:
        """Images that are there."""
        return cls(source.classes, source.train.labels, source.test.labels, partial(_same, source), captions)


def _same(source: Source) -> Source:
    return source


def digits() -> Source:
    """1,347 training and 450 test images of 8 x 8 pixels, always the same ones, the shares of the classes equal."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    content = load_digits()
    images = torch.tensor(content.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(content.target, dtype=torch.int64)
    train, test = train_test_split(range(len(labels)), train_size=DIGITS, stratify=labels, random_state=0)
    whole = TensorImages(images, labels)
    return Source("digits", whole.subset(train), whole.subset(test), tuple(map(str, content.target_names)))


def cifar10(folder: Path) -> Source:
    """CIFAR-10 as bytes, not normalised; `modalities.images.sources.cifar10` says what the folder holds."""
    found = images.cifar10(folder)
    train, test = (replace(part, mean=(), std=()) for part in (found.train, found.test))
    return Source(found.name, train, test, found.classes)


def picture_folder(folder: Path, size: int) -> Source:
    """A folder with captions where it has some, else one with a folder per class."""
    if has_captions(folder):
        return captioned(folder, size)
    check_elsewhere(folder)
    return image_folder(folder, size)


@dataclass(frozen=True)
class Known:
    """A source by its name.

    Attributes:
        widths: channels of the network that is trained on it, where the recipe does not say, from the finest level on.
        training: how, likewise.
        load: reads it, from its path and of its size where it has them; None of concepts.
        path: it is read from one.
        sized: pictures of any size become of one.
    """

    widths: tuple[int, ...]
    training: Training
    load: Callable[..., Source] | None
    path: bool = True
    sized: bool = False


_LARGER = Training(steps=6000, lr=1e-3, ema=0.999)
SOURCES = {
    "digits_to_draw": Known((16, 32), Training(), digits, path=False),
    "cifar10_to_draw": Known((32, 64, 64), _LARGER, cifar10),
    "picture_folder": Known((32, 64, 64), _LARGER, picture_folder, sized=True),
    CONCEPTS: Known((32, 64, 64), _LARGER, None, path=False),
}
"""A data source is added here and nowhere else."""


def load(name: str, path: Path | None = None, size: int | None = None) -> Source:
    """The data set `name`, images in [0, 1] or of bytes.

    Raises:
        ConfigurationError: a folder that is missing, or faults of the data.
    """
    known = SOURCES[name]
    assert known.load is not None, "concepts are drawn"
    if not known.path:
        return known.load()
    if path is None or not path.is_dir():
        raise ConfigurationError(f"{name} is read from a folder: set its path, found {path or 'none'}")
    return known.load(path, SIZE if size is None else size) if known.sized else known.load(path)
