"""Read a pickle of plain data without running what it asks for."""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from unweave.errors import ConfigurationError

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
