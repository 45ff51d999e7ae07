"""A folder of pictures, one folder per class, and pictures as they stand in a report."""

from __future__ import annotations

import base64
import io
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from unweave.errors import ConfigurationError
from unweave.extras import require
from unweave.modalities.images.tensors import Source, TensorImages

_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262  # of EXIF and TIFF
_WHITE_IS_ZERO = 0
_TURNS = (
    *("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"),
)  # what EXIF's orientations 2 to 8 ask for
_SEE_THROUGH = {"LA", "PA", "RGBA", "La", "RGBa"}
_WITHOUT_RANGE = {"I", "F"}


def picture(file: Path | IO[bytes], name: str) -> Any:
    """The image in a file as `PIL.Image.Image` of mode RGB.

    Grey of 16 bits keeps its upper 8 (of 12 bits likewise), as Pillow does it for 16-bit colours. What shines through
    shows white. It is turned as EXIF says. Of an animation it is the first frame.

    Args:
        file: path or open file.
        name: what messages call it.

    Raises:
        ConfigurationError: no image, a damaged one, one of too many pixels, a TIFF of several pages, numbers without a
            known range (32 bits, floating point), or CMYK in a JPEG that does not say which way round.
        UnsupportedError: the extra that reads images is not installed.
    """
    pillow = require("PIL.Image", "vision")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of EXIF tags and the like
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(file) as image:
                _check(image)
                image.load()
                return _turned(pillow, _rgb(pillow, image), image)
    except (pillow.DecompressionBombWarning, pillow.DecompressionBombError) as error:
        raise ConfigurationError(
            f"{name} must have at most {pillow.MAX_IMAGE_PIXELS} pixels (PIL.Image.MAX_IMAGE_PIXELS), and has more: "
            "make it smaller, or take it out"
        ) from error
    except MemoryError:
        raise
    except pillow.UnidentifiedImageError as error:
        raise ConfigurationError(f"{name} must be an image: its content is none that Pillow knows") from error
    except Exception as error:  # whatever the decoders of some thirty formats raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigurationError(f"{name} must be an image and cannot be read: {why}") from error


def _check(image: Any) -> None:
    """Refuses what Pillow reads without a word, and not as it is meant."""
    if image.format == "TIFF" and image.n_frames > 1:
        raise ValueError(f"it holds {image.n_frames} pages: save the one that is meant, or each as a file")
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        raise ValueError("its CMYK values may be meant either way round (no Adobe marker): save it as RGB")
    if image.mode == "RGB" and "transparency" in image.info and image.tile[0][3] == "RGB;16B":
        raise ValueError("its transparent colour is one of 16 bits: save it with an alpha channel, or with 8 bits")


def _rgb(pillow: Any, image: Any) -> Any:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return pillow.fromarray(_upper_bits(image)).convert("RGB")
    if image.mode in _WITHOUT_RANGE:
        raise ValueError("its pixels are 32-bit numbers, whose black and white nothing says: save it with 8 or 16 bits")
    if image.mode in _SEE_THROUGH or "transparency" in image.info:
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _upper_bits(image: Any) -> np.ndarray:
    """Grey of more than 8 bits as 8; the one value that stands for transparent is white."""
    tags = getattr(image, "tag_v2", {})
    values, bits = np.asarray(image).astype(np.int64), tags.get(_BITS, (16,))[0]
    grey = values >> (bits - 8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if "transparency" in image.info:
        grey = np.where(values == image.info["transparency"], 255, grey)
    return grey.astype(np.uint8)


def _turned(pillow: Any, rgb: Any, image: Any) -> Any:
    way = 1
    with suppress(Exception):  # damaged EXIF says nothing of how to turn it
        way = image.getexif().get(_ORIENTATION, 1)
    return rgb.transpose(getattr(pillow.Transpose, _TURNS[way - 2])) if way in range(2, 9) else rgb


def png(image: Tensor) -> str:
    """An image `[channels, height, width]` as it was read, as base64 PNG; its own range where it is not of bytes."""
    from PIL import Image

    pixels = image if image.shape[0] in (1, 3) else image.float().mean(0, keepdim=True)
    if pixels.is_floating_point():
        low, high = pixels.min(), pixels.max()
        pixels = ((pixels - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8)
    array = pixels.permute(1, 2, 0).numpy()
    written = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(written, format="PNG")
    return base64.b64encode(written.getvalue()).decode()


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
        read = pictures(whole.files, size)
        train, test = map(read.subset, divided(read.labels))
        files, said = whole.files, whole.said
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
        train, test = pictures(files, size), pictures({name: unseen.files.get(name, []) for name in files}, size)
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


def pictures(files: Mapping[str, Sequence[Path]], size: int) -> TensorImages:
    """Images as RGB of `size` x `size` pixels; the label of each is the place of its key.

    Raises:
        ConfigurationError: images that cannot be read (the first 20 are named).
    """
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


def divided(labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a training and a test part, a fifth of every label, always the same for the same labels."""
    order = np.random.default_rng(0).permutation(len(labels))
    own = labels.numpy()[order]
    test = np.sort(
        np.concatenate([order[own == label][: round(TEST_SHARE * (own == label).sum())] for label in np.unique(own)])
    )
    return np.setdiff1d(order, test), test
