"""Where images to draw come from: scikit-learn's digits, a folder with one folder of pictures per class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from unweave.errors import ConfigurationError
from unweave.modalities.diffusion.training import Training
from unweave.modalities.images.image_folder import image_folder
from unweave.modalities.images.tensors import Source, TensorImages

DIGITS, SIZE = 1347, 32  # training images of the digits; pixels of a side of a picture, where nothing is said


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


@dataclass(frozen=True)
class Known:
    """A source by its name.

    Attributes:
        widths: channels of the network that is trained on it, where the recipe does not say, from the finest level on.
        training: how, likewise.
        load: reads it, from its path and of its size where it is not built in.
        built_in: it has no path.
    """

    widths: tuple[int, ...]
    training: Training
    load: Callable[..., Source]
    built_in: bool = False


SOURCES = {
    "digits_to_draw": Known((16, 32), Training(), digits, built_in=True),
    "picture_folder": Known((32, 64, 64), Training(steps=6000, lr=1e-3, ema=0.999), image_folder),
}
"""A data source is added here and nowhere else."""


def load(name: str, path: Path | None = None, size: int | None = None) -> Source:
    """The data set `name`, images in [0, 1] or of bytes.

    Raises:
        ConfigurationError: a folder that is missing, or faults of the data.
    """
    known = SOURCES[name]
    if known.built_in:
        return known.load()
    if path is None or not path.is_dir():
        raise ConfigurationError(f"{name} is read from a folder: set its path, found {path or 'none'}")
    return known.load(path, SIZE if size is None else size)
