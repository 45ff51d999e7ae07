"""Where images come from: scikit-learn's digits, CIFAR-10, a folder of pictures, a data set of the hub."""

from __future__ import annotations

import codecs
import hashlib
import io
import operator
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from unweave.errors import ConfigurationError, suggest
from unweave.extras import require
from unweave.modalities.images.image_dataset import image_dataset
from unweave.modalities.images.image_folder import image_folder, picture
from unweave.modalities.images.tensors import Source, TensorImages
from unweave.modalities.images.training import CIFAR10, DIGITS, Training
from unweave.store import atomically, cache_folder

_ARRAY = np.zeros(0).__reduce__()[0]  # numpy's own function to make an array from a pickle
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_plain(path: Path) -> Any:
    """Numbers, bytes, lists, dicts and numpy arrays from a pickle; everything else is refused, not run.

    Raises:
        ConfigurationError: the file asks for anything else, or is no pickle.
    """
    try:
        with path.open("rb") as file:
            return _Plain(file, encoding="bytes").load()
    except Exception as error:  # a broken pickle can raise anything
        raise ConfigurationError(f"{path} must be a pickle of plain data and is refused: {error}") from error


TRAIN = 1297


def digits() -> Source:
    """1,297 training and 500 test images in [0, 1], always the same ones, the shares of the classes equal."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    content = load_digits()
    images = torch.tensor(content.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(content.target, dtype=torch.int64)
    train, test = train_test_split(range(len(labels)), train_size=TRAIN, stratify=labels, random_state=0)
    whole = TensorImages(images, labels)
    return Source("digits", whole.subset(train), whole.subset(test), tuple(map(str, content.target_names)))


CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.201)
BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}


def cifar10(folder: Path) -> Source:
    """CIFAR-10 as uint8 images with the usual normalisation.

    Decoded parquet images are kept in the user's cache folder, under the hash of the files.

    Args:
        folder: holds `train*.parquet` and `test*.parquet` (columns `image` or `img`, and `label`), or is
            `cifar-10-batches-py` or holds it.

    Raises:
        ConfigurationError: neither layout is there, or a file is damaged.
        UnsupportedError: parquet files without the extra that reads them.
    """
    return Source("cifar10", _part(folder, "train"), _part(folder, "test"), CLASSES)


def _part(folder: Path, part: str) -> TensorImages:
    parquet = sorted(folder.glob(f"{part}*.parquet"))
    if parquet:
        tensors = _decoded(parquet)
    else:
        inner = folder / "cifar-10-batches-py"
        inner = inner if inner.is_dir() else folder
        missing = [name for name in BATCHES[part] if not (inner / name).is_file()]
        if missing:
            raise ConfigurationError(
                f"{folder} must hold train*.parquet and test*.parquet, or the folder cifar-10-batches-py, "
                f"found neither {part}*.parquet nor {missing[0]}"
            )
        tensors = _unpickled([inner / name for name in BATCHES[part]])
    return TensorImages(tensors["images"], tensors["labels"], MEAN, STD)


def _decoded(paths: list[Path]) -> dict[str, Tensor]:
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths))
    kept = cache_folder("data") / f"cifar10-rgb-{digest.hexdigest()[:32]}.safetensors"
    if kept.exists():
        try:
            return safetensors.torch.load_file(kept)
        except Exception:  # a torn file raises the reader's own errors: decode again
            kept.unlink()
    tensors = _of_parquet(paths)
    atomically(kept, safetensors.torch.save(tensors))
    return tensors


def _of_parquet(paths: list[Path]) -> dict[str, Tensor]:
    parquet = require("pyarrow.parquet", "vision")
    images: list[np.ndarray] = []
    labels: list[int] = []
    for path in paths:
        try:
            table = parquet.read_table(path)
            pixels = next((name for name in ("image", "img") if name in table.column_names), None)
            if pixels is None or "label" not in table.column_names:
                raise ValueError(f"it needs the columns image (or img) and label, found {table.column_names}")
            labels += map(operator.index, table["label"].to_pylist())
            for row, cell in enumerate(table[pixels].to_pylist()):
                content = cell["bytes"] if isinstance(cell, dict) else cell
                images.append(np.asarray(picture(io.BytesIO(content), f"{path}: row {row}")))
                if images[-1].shape != (32, 32, 3):
                    raise ValueError(f"row {row} must be of 32 x 32 pixels, found {list(images[-1].shape)}")
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path} must hold images and labels and cannot be read: {error}") from error
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return {"images": stacked, "labels": torch.tensor(labels, dtype=torch.int64)}


def _unpickled(paths: list[Path]) -> dict[str, Tensor]:
    images, labels = [], []
    for path in paths:
        content = read_plain(path)
        try:
            pixels = np.asarray(content[b"data"])
            if pixels.min() < 0 or pixels.max() > 255 or pixels.dtype.kind not in "iu":
                raise ValueError(f"pixels must be whole numbers of 0 to 255, found {pixels.min()} to {pixels.max()}")
            images.append(torch.from_numpy(pixels.astype(np.uint8)).view(-1, 3, 32, 32))
            labels.append(torch.tensor([operator.index(label) for label in content[b"labels"]], dtype=torch.int64))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ConfigurationError(f"{path} must hold CIFAR-10's data and labels: {error}") from error
    return {"images": torch.cat(images), "labels": torch.cat(labels)}


@dataclass(frozen=True)
class Known:
    """A source by its name.

    Attributes:
        load: reads it, from its path where it has one.
        network, training: what is trained on it, and how, where the recipe does not say.
        built_in: it has no path.
        hub: its path may be a name on the hub, and it takes `config` and `size`.
    """

    load: Callable[..., Source]
    network: str
    training: Training
    built_in: bool = False
    hub: bool = False


SOURCES = {
    "digits": Known(digits, "digits_cnn", DIGITS, built_in=True),
    "cifar10": Known(cifar10, "cifar_net", CIFAR10),
    "image_folder": Known(image_folder, "cifar_net", CIFAR10),
    "image_dataset": Known(image_dataset, "cifar_net", CIFAR10, hub=True),
}
"""A data source is added here and nowhere else."""


def load(name: str, path: Path | None = None, config: str | None = None, size: int | None = None) -> Source:
    """The data set `name`; all but the built-in digits are read from `path`; `config`, `size`: of `image_dataset`.

    Raises:
        ConfigurationError: an unknown name, a path that is missing or not wanted, or faults of the data.
    """
    if name not in SOURCES:
        raise ConfigurationError(
            f"data source must be one of {', '.join(SOURCES)}, found {name!r}.{suggest(name, SOURCES)}"
        )
    if SOURCES[name].built_in:
        if path is not None:
            raise ConfigurationError(f"{name} is built in and takes no path, found {path}")
        return SOURCES[name].load()
    if path is not None and SOURCES[name].hub:
        return SOURCES[name].load(path, config, size)
    if path is None or not path.is_dir():
        raise ConfigurationError(f"{name} is read from a folder: set its path, found {path or 'none'}")
    return SOURCES[name].load(path)
