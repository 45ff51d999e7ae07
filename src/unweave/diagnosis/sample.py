"""Examples to look at more than once, in the same order, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unweave.data.batches import Batch, count, moved
from unweave.data.pairs import fetched
from unweave.errors import ConfigurationError
from unweave.execution import seeded

Data = Dataset[Any] | DataLoader[Any]


class Sample(Sequence[Batch]):
    """Batches of some examples of a data set, read anew at each look; those of a DataLoader are kept in memory.

    Args:
        data: a map-style data set, or a DataLoader.
        most: examples at most, drawn without replacement; of a loader the batches that come first; None is all.
        batch: examples read at a time; a loader brings its own.
        seed: of the draw, and of data sets that are random.
        device: where batches go.

    Attributes:
        rows: position of each example in the data set, `[n]`; of a loader, in the order in which it gave them.

    Raises:
        ConfigurationError: there is no example, or no length to draw from.
    """

    def __init__(self, data: Data, most: int | None, batch: int, seed: int, device: torch.device) -> None:
        self._seed, self._device = seed, device
        self._data: Dataset[Any] | None = None
        self._kept: list[Batch] = []
        if isinstance(data, DataLoader):
            sizes = self._read(data, most)
            self.rows = torch.arange(sum(sizes))
        else:
            if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
                raise ConfigurationError(
                    f"the data must be a dataset with a length and an index, found {type(data).__name__}: put it into "
                    "a DataLoader"
                )
            self._data, size = data, len(data)
            order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
            self.rows = order[: size if most is None else most].sort().values
            sizes = [len(part) for part in self.rows.split(batch)]
        if not len(self.rows):
            raise ConfigurationError("there must be at least one example to forget and one to keep, found 0")
        self._parts = self.rows.split(sizes)

    def _read(self, loader: DataLoader[Any], most: int | None) -> list[int]:
        sizes: list[int] = []
        with seeded(self._seed):
            for each in loader:
                self._kept.append(each)
                sizes.append(count(each))
                if most is not None and sum(sizes) >= most:
                    break
        return sizes

    @property
    def examples(self) -> int:
        """How many."""
        return len(self.rows)

    def labels(self) -> list[int] | None:
        """The label of each example, where batches are `(inputs, labels)` with class indices; None elsewhere."""
        found: list[int] = []
        for each in self:
            if not (isinstance(each, (tuple, list)) and len(each) == 2 and isinstance(each[1], Tensor)):
                return None
            if each[1].ndim != 1 or each[1].is_floating_point():
                return None
            found += each[1].tolist()
        return found

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        if self._data is None:
            return moved(self._kept[index], self._device)
        with seeded(self._seed, index):
            return moved(fetched(self._data, self._parts[index]), self._device)
