"""Images in one folder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from unweave.data.images import Source, TensorImages
from unweave.errors import ConfigurationError
from unweave.extras import require

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".ppm", ".tif", ".tiff"}
TEST_SHARE = 0.2


def image_folder(folder: Path, size: int = 32) -> Source:
    """Every image below `folder`, as RGB of `size` x `size` pixels; the name of its folder is its class.

    Args:
        folder: holds `train/CLASS/...` and `test/CLASS/...`; or `CLASS/...` alone, of which a fifth of every
            class becomes the test part, always the same for the same files.
        size: height and width after resizing.

    Raises:
        ConfigurationError: no images, fewer than two classes, or files that are no images (all are named).
        UnsupportedError: the extra that reads images is not installed.
    """
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        classes = _classes(folder / "train")
        train = _read(folder / "train", classes, size)
        test = _read(folder / "test", classes, size)
    else:
        classes = _classes(folder)
        train, test = _divided(_read(folder, classes, size))
    return Source(folder.name, train, test, classes)


def _classes(folder: Path) -> tuple[str, ...]:
    found = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if len(found) < 2:
        raise ConfigurationError(f"{folder} must hold one folder per class, at least two, found {len(found)}")
    return tuple(found)


def _read(folder: Path, classes: tuple[str, ...], size: int) -> TensorImages:
    pillow = require("PIL.Image", "vision")
    images: list[np.ndarray] = []
    labels: list[int] = []
    faults = []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).rglob("*")):
            if path.suffix.lower() not in ENDINGS:
                continue
            try:
                with pillow.open(path) as image:
                    images.append(np.asarray(image.convert("RGB").resize((size, size), pillow.Resampling.BILINEAR)))
                labels.append(label)
            except (OSError, ValueError) as error:
                faults.append(f"{path} must be an image and cannot be read: {error}")
    if not images and not faults:
        faults.append(f"{folder} must hold images ({', '.join(sorted(ENDINGS))}) in its class folders, found none")
    if faults:
        raise ConfigurationError(faults)
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return TensorImages(stacked, torch.tensor(labels, dtype=torch.int64))


def _divided(whole: TensorImages) -> tuple[TensorImages, TensorImages]:
    order = np.random.default_rng(0).permutation(len(whole))
    labels = whole.labels.numpy()[order]
    test = np.sort(
        np.concatenate(
            [order[labels == label][: round(TEST_SHARE * (labels == label).sum())] for label in np.unique(labels)]
        )
    )
    return whole.subset(np.setdiff1d(order, test)), whole.subset(test)
