"""Images of a data set by its name on the hub, or of a folder of the same layout, as `datasets` reads them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unweave.errors import ConfigurationError, told
from unweave.extras import require
from unweave.modalities.images.image_folder import divided, picture
from unweave.modalities.images.tensors import Source, TensorImages

TESTS = ("test", "valid", "validation")
PIXELS = ("image", "img")
LABELS = ("label", "labels", "fine_label")


def image_dataset(path: Path, config: str | None = None, size: int | None = None) -> Source:
    """The split `train` to train on and `test` (or `valid`, `validation`) to test with; a fifth of `train` without one.

    Args:
        path: owner/name on the hub (uoft-cs/cifar100, zh-plus/tiny-imagenet), or a folder of parquet files or pictures.
        config: of a data set that has several (cropped_digits of ufldl-stanford/svhn).
        size: height and width that all pictures get; needed where they differ.

    Raises:
        ConfigurationError: it cannot be read, or has no images with one class each, or of several sizes without `size`.
        UnsupportedError: the extra that reads data sets is not installed.
    """
    datasets = require("datasets", "language")
    with told(f"data.path: {path} cannot be read as a data set", "Give owner/name on the hub, or a folder of parquet"):
        parts = datasets.load_dataset(str(path), config)
    if "train" not in parts:
        raise ConfigurationError(f"{path} must have a split train; it has {', '.join(parts)}")
    pixels, label = (_column(path, parts["train"].column_names, names) for names in (PIXELS, LABELS))
    test = next((name for name in TESTS if name in parts and -1 not in parts[name].unique(label)), None)
    whole = _images(path, parts["train"].cast_column(pixels, datasets.Image(decode=False)), pixels, label, size)
    feature = parts["train"].features[label]
    classes = tuple(getattr(feature, "names", None) or map(str, range(int(whole.labels.max()) + 1)))
    if test is None:
        train, unseen = map(whole.subset, divided(whole.labels))
    else:
        seen = parts[test].cast_column(pixels, datasets.Image(decode=False))
        train, unseen = whole, _images(path, seen, pixels, label, size)
    return Source(path.name, train, unseen, classes)


def _column(path: Path, found: Sequence[str], names: Sequence[str]) -> str:
    name = next((name for name in names if name in found), None)
    if name is None:
        raise ConfigurationError(f"{path} needs a column {' or '.join(names)}, found {', '.join(found)}")
    return name


def _images(path: Path, rows: Iterable[Any], pixels: str, label: str, size: int | None) -> TensorImages:
    bilinear = require("PIL.Image", "vision").Resampling.BILINEAR
    images: list[np.ndarray] = []
    labels: list[int] = []
    for number, row in enumerate(rows):
        cell, name = row[pixels], f"{path}: row {number}"
        read = picture(cell["path"] if cell["bytes"] is None else io.BytesIO(cell["bytes"]), name)
        images.append(np.asarray(read if size is None else read.resize((size, size), bilinear)))
        labels.append(int(row[label]))
        if images[-1].shape != images[0].shape:
            high, wide, _ = images[-1].shape
            raise ConfigurationError(f"{name} is of {wide} x {high} pixels, and others are not: set data.size")
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return TensorImages(stacked, torch.tensor(labels, dtype=torch.int64))
