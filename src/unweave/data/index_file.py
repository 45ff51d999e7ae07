"""Row numbers from a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from unweave.errors import ConfigurationError


def read_rows(path: Path) -> np.ndarray:
    """The row numbers in a file, int64 [k].

    `.txt` holds one number per line, `.json` a list, `.csv` numbers in its first column (with or without a
    header), and `.npy` an integer array; pickled contents are refused.

    Raises:
        ConfigurationError: no such file, another ending, or contents that are not a list of whole numbers.
    """
    if path.suffix not in _READERS:
        raise ConfigurationError(f"{path} must end in {', '.join(_READERS)}, found {path.suffix or 'no ending'}")
    try:
        rows = np.asarray(_READERS[path.suffix](path))
    except (OSError, ValueError, EOFError) as error:
        raise ConfigurationError(f"{path} must hold row numbers and cannot be read: {error}") from error
    if rows.ndim != 1 or (rows.size and not np.issubdtype(rows.dtype, np.integer)):
        raise ConfigurationError(f"{path} must hold a list of whole numbers, found {rows.dtype} {list(rows.shape)}")
    return rows.astype(np.int64)


def _text(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


def _csv(path: Path) -> list[int]:
    with path.open(newline="") as file:
        cells = [row[0].strip() for row in csv.reader(file) if row]
    header = bool(cells) and not cells[0].lstrip("-").isdigit()
    return [int(cell) for cell in cells[header:]]


def _json(path: Path) -> object:
    return json.loads(path.read_text())


def _npy(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)


_READERS = {".txt": _text, ".json": _json, ".csv": _csv, ".npy": _npy}
