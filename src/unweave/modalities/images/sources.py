"""The data sets that a recipe can name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unweave.errors import ConfigurationError, suggest
from unweave.modalities.images.cifar10 import cifar10
from unweave.modalities.images.digits import digits
from unweave.modalities.images.image_folder import image_folder
from unweave.modalities.images.tensors import Source

SOURCES: dict[str, Callable[..., Source]] = {
    "digits": digits,
    "cifar10": cifar10,
    "image_folder": image_folder,
}


def load(name: str, path: Path | None = None) -> Source:
    """The data set `name`; all but the built-in digits are read from `path`.

    Raises:
        ConfigurationError: an unknown name, a path that is missing or not wanted, or faults of the data.
    """
    if name not in SOURCES:
        raise ConfigurationError(
            f"data source must be one of {', '.join(SOURCES)}, found {name!r}.{suggest(name, SOURCES)}"
        )
    if name == "digits":
        if path is not None:
            raise ConfigurationError(f"digits is built in and takes no path, found {path}")
        return digits()
    if path is None or not path.is_dir():
        raise ConfigurationError(f"{name} is read from a folder: set its path, found {path or 'none'}")
    return SOURCES[name](path)
