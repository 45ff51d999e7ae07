"""What a data set of the library can do beyond a length and an index; any other data set is read one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from unweave.data.batches import Batch

Indices = Sequence[int] | np.ndarray | Tensor


@runtime_checkable
class Examples(Protocol):
    """A fixed set that is held in memory: `modalities` has one for images and one for texts."""

    @property
    def labels(self) -> Tensor | None:
        """The class of each example, int64 `[n]`; None where there are no classes."""

    @property
    def amounts(self) -> Tensor | None:
        """How much there is to predict in each example, `[n]`, such as tokens; None where it is one each."""

    def batch(self, indices: Indices) -> Batch:
        """The given rows as one batch."""

    def subset(self, indices: Indices) -> Self:
        """The given rows."""

    def digest(self, row: int) -> tuple[bytes, bool]:
        """What makes an example the same as another one, and whether its numbers are finite."""

    def repeated(self, row: int) -> bool:
        """Whether an example is a copy of another one on purpose."""

    def fingerprint(self) -> str:
        """SHA-256 of all that it holds."""


def examples(data: Any) -> Examples | None:
    """The data set, if it is such a one."""
    return data if isinstance(data, Examples) else None


def indexed(data: Any) -> bool:
    """Whether single examples can be asked for: not of a stream, which may have a length, and an index that refuses."""
    streamed = isinstance(data, (DataLoader, IterableDataset))
    return not streamed and hasattr(data, "__len__") and hasattr(data, "__getitem__")
