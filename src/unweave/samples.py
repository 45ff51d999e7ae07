"""Which examples are read, and how: what a data set says of itself, and a fixed part of it, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from unweave.data.batches import Batch, answered, as_classes, collated, count, moved
from unweave.data.loaders import Collated
from unweave.data.pairs import fetched
from unweave.data.protocol import examples, indexed
from unweave.execution import seeded
from unweave.tasks.known import READ

Data = Dataset[Any] | DataLoader[Any]
Rows = NDArray[np.int64]
KEPT = 1 << 28  # bytes of a sample that stay in memory


class Sample(Sequence[Batch]):
    """Some examples in a fixed order, batch by batch: the same ones, with the same randomness, at every pass.

    So two models are compared example by example. Batches stay in memory up to `KEPT` bytes; those of a loader or a
    stream are drawn once and all kept.

    Args:
        data: a data set, or a loader.
        rows: of a data set; None is all.
        most: at most so many, drawn without replacement; of a loader the batches that come first.
        batch: examples of one pass (`tasks.Known.reading_batch`); a loader brings its own.
        seed: of the draw, and of what the data draw at random.
        device: where batches go; None leaves them where they are.
        stride: the n-th batch of data that draw at random has the randomness of `(seed, n stride)`; None is `batch`.

    Attributes:
        rows: position of each example in the data set, `[n]`; of a loader, in the order in which it gave them.
    """

    def __init__(
        self,
        data: Data,
        *,
        rows: Rows | None = None,
        most: int | None = None,
        batch: int = READ,
        seed: int = 0,
        device: torch.device | None = None,
        stride: int | None = None,
    ) -> None:
        self._data, self._seed, self._device, self._stride = data, seed, device, stride or batch
        self._kept: dict[int, Batch] = {}
        self._bytes = 0
        if not indexed(data):
            self._kept = dict(enumerate(_drawn(data, most, seed, batch)))
            sizes = list(map(count, self._kept.values()))
            self.rows, self._batches = np.arange(sum(sizes)), len(sizes)
            return
        rows = np.arange(len(data)) if rows is None else rows  # type: ignore[arg-type]
        if most is not None and len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
        self.rows, self._batch, self._batches = rows, batch, -(-len(rows) // batch)

    @property
    def examples(self) -> int:
        """How many."""
        return len(self.rows)

    def labels(self) -> list[int] | None:
        """The label of each example, where batches say class indices (`data.batches.as_classes`); None elsewhere."""
        found: list[int] = []
        for each in self:
            if (parts := answered(each)) is None or (classes := as_classes(parts[1])) is None:
                return None
            found += classes.tolist()
        return found

    def batches(self, device: torch.device) -> Iterator[Batch]:
        """All of them, on another device."""
        return (moved(self._read(number), device) for number in range(len(self)))

    def __len__(self) -> int:
        return self._batches

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return moved(self._read(index % len(self)), self._device)

    def _read(self, number: int) -> Batch:
        if number in self._kept:
            return self._kept[number]
        with seeded(self._seed, number * self._stride):
            rows = self.rows[number * self._batch :][: self._batch]
            found = fetched(self._data, torch.from_numpy(rows))  # type: ignore[arg-type]
        if (size := _bytes(found)) + self._bytes <= KEPT:
            self._kept[number] = found
            self._bytes += size
        return found


def subset(data: Dataset[Any], rows: Rows) -> Dataset[Any]:
    """Some rows of a data set."""
    if (own := examples(data)) is not None:
        return own.subset(rows)  # type: ignore[return-value]
    if isinstance(data, Collated):
        return replace(data, dataset=subset(data.dataset, rows))
    if type(data) is TensorDataset:
        return TensorDataset(*(tensor[torch.from_numpy(rows)] for tensor in data.tensors))
    return Subset(data, rows.tolist())


def read(data: Data, size: int, device: torch.device) -> Iterator[Batch]:
    """All batches of a data set, in its order; those of a loader as they come."""
    if indexed(data):
        rows = torch.arange(len(data)).split(max(1, min(size, len(data))))  # type: ignore[arg-type]
        batches: Iterator[Batch] = (fetched(data, part) for part in rows if len(part))  # type: ignore[arg-type]
    else:
        batches = iter(data if isinstance(data, DataLoader) else DataLoader(data, batch_size=size, collate_fn=collated))
    yield from (moved(batch, device) for batch in batches)


def labels(data: Data) -> Rows | None:
    """The class of every example of a data set of (input, label), or of mappings; None where there is none."""
    if not indexed(data) or not len(data):  # type: ignore[arg-type]
        return None
    if (own := examples(data)) is not None:
        return None if own.labels is None else own.labels.numpy()
    if type(data) is TensorDataset:
        found: Any = data.tensors[1] if len(data.tensors) == 2 else None
    elif isinstance(data, Collated):
        return labels(data.dataset)
    elif isinstance(data, Subset):
        inner = labels(data.dataset)
        return None if inner is None else inner[np.asarray(data.indices, dtype=np.int64)]
    else:
        first = answered(data[0])  # type: ignore[index]
        if first is None or np.size(first[1]) != 1:
            return None
        found = [(answered(data[row]) or first)[1] for row in range(len(data))]  # type: ignore[index,arg-type]
    try:
        array = as_classes(torch.as_tensor(np.asarray(found)))
    except (TypeError, ValueError, RuntimeError):
        return None
    return None if array is None else array.numpy()


def _drawn(data: Data, most: int | None, seed: int, batch: int) -> Iterator[Batch]:
    """Batches of a loader, or of a stream, up to so many examples."""
    seen = 0
    with seeded(seed):
        for each in data if isinstance(data, DataLoader) else DataLoader(data, batch_size=batch, collate_fn=collated):
            yield each
            seen += count(each)
            if most is not None and seen >= most:
                return


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return sum(map(_bytes, parts))
