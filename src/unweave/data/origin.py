"""From which row of which data set an example comes, through subsets, concatenations and wrappers."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, NamedTuple

from torch.utils.data import ConcatDataset

_DEEPEST = 100  # of data sets in data sets; one may name itself


class Origin(NamedTuple):
    """A row of a data set that is no part of another, and whether something may have changed it on the way."""

    data: Any
    row: int
    wrapped: bool


def origin(data: Any, row: int) -> Origin:
    """Where a row comes from.

    Follows `dataset` and `indices` (a `Subset`), the parts of a `ConcatDataset`, and `dataset` alone where it is as
    long: a wrapper that transforms the examples one by one.
    """
    wrapped = False
    for _ in range(_DEEPEST):
        if isinstance(data, ConcatDataset):
            part = bisect_right(data.cumulative_sizes, row)
            data, row = data.datasets[part], row - (data.cumulative_sizes[part - 1] if part else 0)
            continue
        inner, chosen = getattr(data, "dataset", None), getattr(data, "indices", None)
        length, size = _length(inner), len(data)
        if length is None or size not in (length, _length(chosen)):
            break
        if chosen is not None and _length(chosen) == size:
            row = int(chosen[row])
            row += length if row < 0 else 0
        else:
            wrapped = True
        data = inner
    return Origin(data, row, wrapped)


def _length(of: Any) -> int | None:
    try:
        return len(of)
    except TypeError:
        return None
