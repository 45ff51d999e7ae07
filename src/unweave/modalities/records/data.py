"""Records by their row: some of any data set that can be read by index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from unweave import samples
from unweave.data.batches import Batch
from unweave.data.content import content
from unweave.data.pairs import fetched
from unweave.data.protocol import Indices, indexed
from unweave.errors import ConfigurationError, shown, told
from unweave.modalities._base import Rows

LOOKED = 9  # examples that are read twice, from the first to the last


@dataclass(frozen=True, eq=False)
class Records(Dataset[Any]):
    """Rows of a data set: an `Examples`.

    Attributes:
        data: all of them.
        numbers: those that are in it, `[n]`.
        known: the class of every example of `data`, in memory of its own (torch moves that of tensors to share it with
            other processes); None where there are no classes.
    """

    data: Dataset[Any]
    numbers: Rows
    known: Rows | None = None
    amounts: None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: int) -> Any:
        return self.data[int(self.numbers[row])]

    @property
    def labels(self) -> Tensor | None:
        """The class of each, if they have some."""
        return None if self.known is None else torch.from_numpy(self.known[self.numbers])

    def batch(self, indices: Indices) -> Batch:
        """These rows as one batch."""
        return fetched(self.data, torch.from_numpy(self._rows(indices)))

    def subset(self, indices: Indices) -> Records:
        """These rows."""
        return Records(self.data, self._rows(indices), self.known)

    def digest(self, row: int) -> tuple[bytes, bool]:
        """Of all that an example holds."""
        return content(self[row])

    def repeated(self, row: int) -> bool:
        """Nobody marks copies."""
        return False

    def fingerprint(self) -> str:
        """SHA-256 of all examples."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        if type(self.data) is TensorDataset:
            rows = torch.from_numpy(self.numbers)
            parts = [tensor[rows].contiguous().numpy() for tensor in self.data.tensors]
            return hashlib.sha256(b"".join(f"{p.dtype}{p.shape}".encode() + p.tobytes() for p in parts)).hexdigest()
        return hashlib.sha256(b"".join(self.digest(row)[0] for row in range(len(self)))).hexdigest()

    def _rows(self, indices: Indices) -> Rows:
        chosen = np.asarray(indices)
        return self.numbers[chosen.astype(np.int64) if chosen.dtype != np.bool_ else chosen]


def whole(data: Any, what: str) -> Records:
    """All of a data set of the user's.

    Raises:
        ConfigurationError: it cannot be read by index, is empty, or gives another example at the next look.
    """
    if isinstance(data, nn.Module) or not indexed(data):
        raise ConfigurationError(
            f"{what}: expected a data set that can be read by index, with a length; found {shown(data)}"
        )
    if not len(data):
        raise ConfigurationError(f"{what}: expected at least one example, found 0")
    with told(f"{what}: {type(data).__name__} cannot give its examples"):
        looked = {round(row) for row in np.linspace(0, len(data) - 1, LOOKED)}
        changed = sum(content(data[row])[0] != content(data[row])[0] for row in sorted(looked))
    if changed:
        raise ConfigurationError(
            f"{what}: {type(data).__name__} gives another example when it is asked again: a run compares what a model "
            "makes of the same examples. Leave random augmentation out."
        )
    return Records(data, np.arange(len(data), dtype=np.int64))


def classed(data: Records) -> Records:
    """The same with the class of each example, where they have classes."""
    found = samples.labels(data.data)
    return Records(data.data, data.numbers, None if found is None else found.copy())
