"""Images in one folder per class."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unweave.errors import ConfigurationError
from unweave.extras import require
from unweave.modalities.images.picture import picture
from unweave.modalities.images.tensors import Source, TensorImages

ENDINGS = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".tga"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
}
UNREAD = {".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".dcm", ".dng", ".raw", ".npy"}  # pictures, too
JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini"}
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}
TEST_SHARE = 0.2
TOLD = 20  # faults of single files


def image_folder(folder: Path, size: int = 32) -> Source:
    """Every image below `folder`, as RGB of `size` x `size` pixels; the name of its folder is its class.

    A class is a folder that holds an image, at whatever depth. What is hidden (`.ipynb_checkpoints`, `._cat.jpg`) and
    what systems leave behind (`__MACOSX`, `Thumbs.db`) is passed over, and so are files that are no images; how a file
    becomes RGB is said at `picture`.

    Args:
        folder: holds `train/CLASS/...` and `test/CLASS/...`; or `CLASS/...` alone, of which a fifth of every
            class becomes the test part, always the same for the same files.
        size: height and width after resizing.

    Warns:
        UserWarning: folders that look like a class and hold no image, pictures of a format that is not read, and
            classes without an image in `test/`.

    Raises:
        ConfigurationError: no images, fewer than two classes, a class of `test/` that `train/` does not have, a folder
            that is divided in other parts than `train/` and `test/`, or images that cannot be read (the first 20 are
            named).
        UnsupportedError: the extra that reads images is not installed.
    """
    if not ((folder / "train").is_dir() and (folder / "test").is_dir()):
        whole = _found(folder)
        if parts := [name for name in whole.files if name.lower() in PARTS and _has_classes(folder / name)]:
            raise ConfigurationError(
                f"{folder} must hold train/ and test/ with a folder per class in each, or the classes alone; found "
                f"{', '.join(f'{name}/' for name in parts)} with folders of images: name the two train and test"
            )
        _check_classes(folder, whole.files)
        (train, test), files, said = _divided(_read(whole.files, size)), whole.files, whole.said
    else:
        seen, unseen = _found(folder / "train"), _found(folder / "test")
        _check_classes(folder / "train", files := seen.files)
        if strange := [folder / "test" / name for name in unseen.files if name not in files]:
            raise ConfigurationError(
                f"{each} holds images, and no image of that class is in {folder / 'train'}: add some, rename the "
                "folder, or take it out"
                for each in strange
            )
        if not unseen.files:
            raise ConfigurationError(_without_images(folder / "test"))
        train, test = _read(files, size), _read({name: unseen.files.get(name, []) for name in files}, size)
        nothing = sorted(seen.bare & unseen.bare)
        said = [*seen.said, *unseen.said]
        said += [f"no image of {', '.join(nothing)}, in train/ nor in test/"] if nothing else []
    absent = [name for label, name in enumerate(files) if not (test.labels == label).any()]
    said += [f"no image of {', '.join(absent)} is left to test with: nothing unseen is measured of them"] * bool(absent)
    for text in said:
        warnings.warn(f"{folder}: {text}", stacklevel=2)
    return Source(folder.name, train, test, tuple(files))


def _has_classes(folder: Path) -> bool:
    images = (path for path in _visible(folder) if path.suffix.lower() in ENDINGS)
    return any(path.parent != folder for path in images)


@dataclass(frozen=True)
class _Found:
    """The images of every class, both in the order of their names; folders that hold none; and what to say of it."""

    files: dict[str, list[Path]]
    bare: set[str]
    said: list[str]


def _found(folder: Path) -> _Found:
    images: dict[str, list[Path]] = {}
    bare: set[str] = set()
    strays, unread, said = list[str](), Counter[str](), list[str]()
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not _passed_over(path.name)):
        files = list(_visible(path))
        unread.update(file.suffix.lower() for file in files if file.suffix.lower() in UNREAD)
        if own := [file for file in files if file.suffix.lower() in ENDINGS]:
            images[path.name] = own
        else:
            bare.add(path.name)
            strays += [f"{path} ({len(files)} files)"] if files else []
    if strays:
        said.append(f"no classes, as they hold no image: {', '.join(strays)}")
    if unread:
        counts = ", ".join(f"{count} {ending}" for ending, count in sorted(unread.items()))
        said.append(f"passed over, as their formats are not read: {counts}. Save them as PNG")
    return _Found(images, bare, said)


def _visible(folder: Path) -> Iterator[Path]:
    """Files below, without those that are hidden or in hidden folders."""
    for path in sorted(folder.rglob("*")):
        hidden = any(map(_passed_over, path.relative_to(folder).parts))
        if not hidden and (path.is_file() or (path.is_symlink() and not path.exists())):  # a broken link is a fault
            yield path


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name in JUNK


def _check_classes(folder: Path, files: dict[str, list[Path]]) -> None:
    faults = [f"{name!r} must be a name in UTF-8: rename the folder" for name in files if not _is_text(name)]
    if not files:
        faults.append(_without_images(folder))
    elif len(files) < 2:
        faults.append(f"{folder} must hold one folder of images per class, at least two, found {', '.join(files)}")
    if faults:
        raise ConfigurationError(faults)


def _is_text(name: str) -> bool:
    return name.encode(errors="replace").decode() == name


def _without_images(folder: Path) -> str:
    return (
        f"{folder} must hold one folder per class, at least two, with images in them ({', '.join(sorted(ENDINGS))}), "
        "found none"
    )


def _read(files: dict[str, list[Path]], size: int) -> TensorImages:
    bilinear = require("PIL.Image", "vision").Resampling.BILINEAR
    images: list[np.ndarray] = []
    labels: list[int] = []
    faults = []
    for label, paths in enumerate(files.values()):
        for path in paths:
            try:
                images.append(np.asarray(picture(path, str(path)).resize((size, size), bilinear)))
                labels.append(label)
            except ConfigurationError as error:
                faults += error.faults
    if faults:
        more = [f"and {len(faults) - TOLD} more images that cannot be read"] if len(faults) > TOLD else []
        raise ConfigurationError(faults[:TOLD] + more)
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
