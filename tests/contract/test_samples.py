"""A sample of any data set: its labels, its randomness, how much of it stays in memory, where a stream ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from tests.contract.test_examples import Rows
from unweave.execution import seeded
from unweave.modalities.images.tensors import TensorImages
from unweave.samples import Sample, indexed, labels, subset


class Counting(Dataset[Any]):
    """Draws every example at random, and counts how often one is read."""

    def __init__(self, size: int) -> None:
        self.size, self.reads = size, 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, row: int) -> Any:
        self.reads += 1
        return torch.rand(1)


class Counted(IterableDataset[Any]):
    """A stream that says how long it is."""

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[Any]:
        return iter(torch.arange(5.0))


class Asked(DataLoader[Any]):
    """A loader that can be asked for a batch."""

    def __getitem__(self, number: int) -> Any:
        return list(self)[number]


class Listed:
    """What has a length and no index."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        return iter(range(3))


class Endless:
    """What has an index and no length."""

    def __getitem__(self, row: int) -> Any:
        return row


class Unlabelled:
    """Examples of the library without classes, as texts are."""

    labels = amounts = None

    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> Any:
        return torch.zeros(1), row

    def batch(self, indices: Any) -> Any:
        return torch.zeros(len(indices), 1)

    def subset(self, indices: Any) -> Any:
        return self

    def digest(self, row: int) -> tuple[bytes, bool]:
        return b"", True

    def repeated(self, row: int) -> bool:
        return False

    def fingerprint(self) -> str:
        return ""


def test_labels_of_a_sample_are_class_indices() -> None:
    x = torch.zeros(3, 2)
    assert Sample(TensorDataset(x, torch.tensor([4, 0, 2])), batch=2).labels() == [4, 0, 2]
    without: list[Any] = [
        Rows([{"input": row, "y": 1} for row in x]),  # nothing says that y is the answer
        Rows(list(x[:2])),  # a batch of two
        Rows([(row, "name") for row in x]),
        TensorDataset(x),
        TensorDataset(x, torch.zeros(3, 2, dtype=torch.long)),
        TensorDataset(x, torch.zeros(3, 2)),
        TensorDataset(x, torch.full((3,), 0.5)),
    ]
    assert [Sample(data).labels() for data in without] == [None] * 7


@pytest.mark.parametrize("stride", [None, 1, 3])
def test_the_randomness_of_a_batch_is_that_of_its_number_times_the_stride(stride: int | None) -> None:
    examples = Sample(Counting(5), batch=2, seed=7, stride=stride)
    assert len(examples) == 3
    for number, size in enumerate([2, 2, 1]):
        with seeded(7, number * (stride or 2)):
            wanted = torch.rand(size, 1)
        assert examples[number].equal(wanted)


@pytest.mark.parametrize(("room", "reads"), [(16, 6 + 2), (15, 6 + 4), (7, 6 + 6), (24, 6)])
def test_batches_stay_in_memory_while_there_is_room(monkeypatch: pytest.MonkeyPatch, room: int, reads: int) -> None:
    """Three batches of two float32, 8 bytes each."""
    monkeypatch.setattr("unweave.samples.KEPT", room)
    data = Counting(6)
    examples = Sample(data, batch=2)
    first, second = (torch.cat(list(examples)) for _ in range(2))
    assert first.equal(second) and data.reads == reads


def test_places_are_those_of_a_list() -> None:
    examples = Sample(TensorDataset(torch.arange(5.0)), batch=2)
    batches = [batch.tolist() for (batch,) in examples]
    assert batches == [[0, 1], [2, 3], [4]]
    assert [examples[place][0].tolist() for place in range(-3, 0)] == batches
    assert [batch.tolist() for (batch,) in examples[1:]] == batches[1:]
    for place in (3, -4):
        with pytest.raises(IndexError):
            examples[place]


def test_rows_that_are_few_enough_stay_in_their_order() -> None:
    data = TensorDataset(torch.arange(5.0))
    assert Sample(data, rows=np.array([3, 1]), most=2).rows.tolist() == [3, 1]
    assert len(Sample(data, rows=np.array([3, 1]), most=1).rows) == 1


def test_a_loader_is_read_up_to_the_batch_that_is_enough() -> None:
    loader = DataLoader(TensorDataset(torch.arange(20.0)), batch_size=4)
    for most, batches in ((7, 2), (8, 2), (9, 3), (None, 5)):
        examples = Sample(loader, most=most)
        assert len(examples) == batches and examples.rows.tolist() == list(range(4 * batches))


def test_only_what_has_a_length_and_an_index_is_asked_for_single_examples() -> None:
    data: list[Any] = [Rows([1]), Counted(), Asked(Rows([1])), DataLoader(Rows([1])), Listed(), Endless()]
    assert [indexed(each) for each in data] == [True] + [False] * 5


def test_a_stream_that_says_its_length_is_read_as_a_stream() -> None:
    assert torch.cat(list(Sample(Counted(), batch=2))).tolist() == [0, 1, 2, 3, 4]
    assert labels(Counted()) is None


def test_sets_that_are_held_in_memory_know_their_rows_and_labels() -> None:
    part: Any = subset(TensorImages(torch.zeros(4, 1, 2, 2), torch.tensor([3, 1, 2, 0])), np.array([2, 0]))
    assert isinstance(part, TensorImages) and part.labels.tolist() == [2, 3]
    tensors: Any = subset(TensorDataset(torch.arange(4.0), torch.arange(4)), np.array([2, 0]))
    assert type(tensors) is TensorDataset and [each.tolist() for each in tensors.tensors] == [[2, 0], [2, 0]]
    unlabelled: Any = Unlabelled()
    assert labels(unlabelled) is None


def test_one_example_is_enough_for_labels_and_several_each_are_none() -> None:
    x = torch.zeros(2)
    assert labels(Rows([(x, 3)])).tolist() == [3]  # type: ignore[union-attr]
    assert labels(TensorDataset(torch.zeros(3), torch.zeros(3, 2, dtype=torch.long))) is None
