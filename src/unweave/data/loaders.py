"""Loaders over data sets with an index: their examples can be asked for one by one, put together as the loader does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    default_collate,
)

from unweave.data.protocol import indexed


@dataclass(frozen=True, eq=False)
class Collated(Dataset[Any]):
    """What a loader gives, by index.

    Attributes:
        dataset: whose examples.
        collate: makes a batch of a list of them.
    """

    dataset: Dataset[Any]
    collate: Callable[[list[Any]], Any]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, row: int) -> Any:
        return self.dataset[row]


def opened(data: Dataset[Any] | DataLoader[Any]) -> Dataset[Any] | None:
    """The examples of a data set, or of a loader that goes through all of its own or a fixed part of them.

    None where only reading them all would tell: a stream, a sampler or batch sampler of the caller's.
    """
    if isinstance(data, DataLoader):
        if data.batch_size is None:  # a batch sampler of the caller's
            return None
        if isinstance(data.sampler, SubsetRandomSampler):
            data = Subset(data.dataset, list(data.sampler.indices))
        elif isinstance(data.sampler, (SequentialSampler, RandomSampler)):
            data = data.dataset
        else:
            return None
    return data if indexed(data) else None


def by_index(data: Dataset[Any] | DataLoader[Any]) -> Dataset[Any] | DataLoader[Any]:
    """A loader as a data set, where it can be; anything else as it is."""
    if not isinstance(data, DataLoader) or (examples := opened(data)) is None:
        return data
    plain = type(examples) is TensorDataset and data.collate_fn is default_collate
    return examples if plain else Collated(examples, data.collate_fn)


def narrowed(loader: DataLoader[Any], rows: Sequence[int]) -> DataLoader[Any]:
    """The same loader over some of its examples: rows of what `opened` gives."""
    examples, size = opened(loader), loader.batch_size
    assert examples is not None and size is not None
    return DataLoader(
        Subset(examples, list(rows)),
        size,
        shuffle=not isinstance(loader.sampler, SequentialSampler),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last and len(rows) >= size,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )
