"""Two sets share an example if they share a row, also where the data draw at random at every look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, SubsetRandomSampler, random_split

import unweave
from tests._toys import network
from unweave.data.checks import check_overlap, origin
from unweave.errors import ConfigurationError


class Noisy(Dataset[Any]):
    """Another input at every look."""

    def __init__(self, size: int = 20) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, row: int) -> Any:
        return row + torch.rand(8), row % 4


class Transformed(Dataset[Any]):
    """A wrapper with a `dataset`, as people write them; with other labels, if asked for."""

    def __init__(self, dataset: Any, shift: int = 0) -> None:
        self.dataset, self.shift = dataset, shift

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> Any:
        x, y = self.dataset[row]
        return x * torch.rand(1), (y + self.shift) % 4


class Chosen(Dataset[Any]):
    """A subset that is none of torch's."""

    def __init__(self, dataset: Any, indices: Any) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row: int) -> Any:
        return self.dataset[self.indices[row]]


class Inputs(Transformed):
    """Without labels."""

    def __getitem__(self, row: int) -> Any:
        return {"x": self.dataset[row][0]}


BASE, REST = Noisy(), Noisy(30)
BOTH = ConcatDataset([REST, BASE])
Choose = Callable[[list[int]], Any]
WAYS: dict[str, Choose] = {
    "a subset": lambda rows: Subset(BASE, rows),
    "of tensors": lambda rows: Subset(BASE, torch.tensor(rows)),  # type: ignore[arg-type]
    "from the end": lambda rows: Subset(BASE, [row - 20 for row in rows]),
    "of a subset": lambda rows: Subset(Subset(BASE, np.arange(19, -1, -1)), [19 - row for row in rows]),  # type: ignore[arg-type]
    "of a concatenation": lambda rows: Subset(BOTH, [30 + row for row in rows]),
    "a concatenation of subsets": lambda rows: ConcatDataset([Subset(BASE, rows[:1]), Subset(BASE, rows[1:])]),
    "a wrapped subset": lambda rows: Transformed(Subset(BASE, rows)),
    "a subset of wrapped ones": lambda rows: Subset(Transformed(BASE), rows),
    "wrapped twice": lambda rows: Transformed(Subset(Transformed(BASE), rows)),
    "a subset of one's own": lambda rows: Chosen(BASE, np.array(rows)),
    "without labels": lambda rows: Inputs(Subset(BASE, rows)),
}


@pytest.mark.parametrize("other", WAYS)
@pytest.mark.parametrize("way", WAYS)
def test_a_row_in_both_is_found(way: str, other: str) -> None:
    forget = WAYS[way]([3, 5, 9])
    check_overlap(forget, WAYS[other]([0, 4, 8, 19]))
    with pytest.raises(ConfigurationError, match=r"found 2 of 3 .*\[2\] = retain\[1\], forget\[0\] = retain\[3\]"):
        check_overlap(forget, WAYS[other]([0, 9, 8, 3]))


def test_what_is_no_overlap() -> None:
    """Other data sets of the same kind, a corrected label of the same row, a repetition within one set."""
    check_overlap(Subset(BASE, [1, 2, 2]), Subset(REST, [1, 2]))
    check_overlap(Subset(BASE, [1, 1]), Subset(BASE, [0, 2, 2]))
    check_overlap(Subset(BASE, [1, 2]), Transformed(Subset(BASE, [1, 2]), shift=1))
    check_overlap(Transformed(BASE, shift=2), Transformed(BASE, shift=3))
    for parts in (random_split(BASE, [0.5, 0.5]), random_split(BOTH, [10, 40])):
        check_overlap(*parts)
    with pytest.raises(ConfigurationError, match="found 20 of 20"):
        check_overlap(BASE, Transformed(BASE))


def test_where_a_row_comes_from() -> None:
    """What names itself, or something of another length, is followed no further."""
    assert origin(Subset(Subset(BASE, [4, 7]), [1]), 0) == (BASE, 7, False)
    assert origin(BOTH, 29) == (REST, 29, False) and origin(BOTH, 30) == (BASE, 0, False)
    itself = Noisy()
    itself.dataset = itself  # type: ignore[attr-defined]
    assert origin(itself, 3)[:2] == (itself, 3)

    class Longer(Transformed):
        def __len__(self) -> int:
            return 2 * len(self.dataset)

    assert origin(longer := Longer(BASE), 30) == (longer, 30, False)


@pytest.mark.parametrize("loaders", [False, True])
def test_the_call_refuses_it(loaders: bool) -> None:
    """Before anything is computed."""
    rows = [0, 1, 2, 3], [3, 4, 5, 6, 7, 8]
    sides: Any = [Subset(BASE, each) for each in rows]
    if loaders:
        sides = [DataLoader(BASE, 2, sampler=SubsetRandomSampler(each)) for each in rows]
    with pytest.raises(ConfigurationError, match=r"forget and retain must share no example, found 1 of 4"):
        unweave.unlearn(network(), forget=sides[0], retain=sides[1], contract=None, steps=1)
