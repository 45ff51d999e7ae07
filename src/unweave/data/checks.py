"""Faults of data that would spoil a run silently."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from unweave.data.content import content
from unweave.data.protocol import Examples, examples
from unweave.errors import ConfigurationError, told

_DEEPEST = 100  # of data sets in data sets; one may name itself


def check_filled(size: int, name: str) -> None:
    """Refuse a set without an example.

    Raises:
        ConfigurationError: there is none.
    """
    if not size:
        raise ConfigurationError(f"the {name} set must hold at least one example, found 0: check the split")


def check_overlap(
    forget: Dataset[Any], retain: Dataset[Any], measured: Mapping[str, Dataset[Any]] | None = None
) -> dict[str, list[int]]:
    """Refuse examples that are in both sets: the same row of one data set, or the same input and label, bit for bit.

    By row also where the data set draws something at random at every look (`Subset`, `ConcatDataset`, `random_split`
    and wrappers with a `dataset` are followed to where the rows are). The same input under another label is no
    overlap: a corrected copy of a mislabelled example may be kept. Texts are the same if their words are: case,
    sentence punctuation and gaps do not count. A retain text that is marked as a copy is there on purpose. Objects are
    compared by what they hold (`content`).

    Args:
        forget, retain: what a run trains on.
        measured: sets to measure on, by name, which may hold some of the same content, as some data do by nature, but
            are no copies: less than half of it.

    Returns:
        Rows of all of them that hold NaN or infinity: the model may know what to do with them, or not.

    Raises:
        ConfigurationError: there are some; the message counts them and names the first by their index.
    """
    contents: dict[bytes, int] = {}
    places: dict[tuple[int, int], int] = {}
    shared: list[tuple[int, int]] = []
    broken: dict[str, list[int]] = {"forget": [], "retain": []}
    own: dict[str, dict[bytes, int]] = {}
    copies: dict[str, dict[int, str]] = {}
    for name, data in (measured or {}).items():
        own[name], copies[name], broken[name] = {}, {}, []
        for row, (_, digest, finite) in enumerate(_rows(data, name)):
            own[name][digest] = row
            broken[name] += [] if finite else [row]

    def trained(digest: bytes, place: str) -> None:
        for name, rows in own.items():
            if digest in rows:
                copies[name].setdefault(rows[digest], place)

    for row, (at, digest, finite) in enumerate(_rows(forget, "forget")):
        contents[digest] = places[id(at.data), at.row] = row
        trained(digest, f"forget[{row}]")
        broken["forget"] += [] if finite else [row]
    for row, (at, digest, finite) in enumerate(_rows(retain, "retain")):
        trained(digest, f"retain[{row}]")
        twin = contents.get(digest)
        if twin is None and (place := places.get((id(at.data), at.row))) is not None:
            twin = place if _same_label(forget, place, retain, row) else None
        if twin is not None and not ((known := examples(at.data)) and known.repeated(at.row)):
            shared.append((twin, row))
        broken["retain"] += [] if finite else [row]
    faults = [
        _copied(name, found, len(own[name])) for name, found in copies.items() if 2 * len(found) >= len(own[name])
    ]
    if shared:
        first = ", ".join(f"forget[{a}] = retain[{b}]" for a, b in shared[:5])
        both = len({a for a, _ in shared})
        faults.append(
            f"forget and retain must share no example, found {both} of {len(places)} forget "
            f"examples in the retain set too (first: {first}): take them out of one of the two"
        )
    if any(faults):
        raise ConfigurationError(filter(None, faults))
    return broken


def check_apart(measured: Mapping[str, Dataset[Any]], trained: Mapping[str, Dataset[Any]]) -> None:
    """Refuse sets to measure on that hold a row of those that a run trains on: the same row of one data set.

    Raises:
        ConfigurationError: for each such set, how many, and the first.
    """
    places = {
        (id(at.data), at.row): f"{name}[{row}]"
        for name, data in trained.items()
        for row in range(len(data))  # type: ignore[arg-type]
        for at in [origin(data, row)]
    }
    faults = []
    for name, data in measured.items():
        rows = [(row, origin(data, row)) for row in range(len(data))]  # type: ignore[arg-type]
        shared = {row: places[at] for row, own in rows if (at := (id(own.data), own.row)) in places}
        faults.append(_copied(name, shared, len(rows)))
    if any(faults):
        raise ConfigurationError(filter(None, faults))


def _copied(name: str, found: Mapping[int, str], size: int) -> str:
    """What to say of rows of a set that are trained on; nothing of none."""
    if not found:
        return ""
    row, place = next(iter(found.items()))
    return (
        f"{name}: expected examples that no step trains on, found {len(found)} of {size} in the forget or the "
        f"retain set (first: {name}[{row}] = {place}): take others"
    )


def check_labels(labels: Tensor | np.ndarray, classes: int) -> None:
    """Refuse labels outside [0, classes).

    Raises:
        ConfigurationError: there are some; the message counts them and names the first.
    """
    values = np.asarray(labels)
    outside = np.flatnonzero((values < 0) | (values >= classes))
    if len(outside):
        first = ", ".join(f"row {row} has {values[row]}" for row in outside[:5])
        raise ConfigurationError(
            f"labels must be at least 0 and below {classes} (the number of classes), "
            f"found {len(outside)} outside (first: {first}). Number the classes from 0, or load the model that has "
            "that many"
        )


def _rows(data: Dataset[Any], name: str) -> Iterable[tuple[Origin, bytes, bool]]:
    """Of every example, in order: where it comes from, a digest, and whether its numbers are finite."""
    own: tuple[Any, Examples | None] = (None, None)  # asked once of a data set: what it is takes longer than a row
    for row in range(len(data)):  # type: ignore[arg-type]
        with told(f"{name}[{row}] cannot be read"):
            at = origin(data, row)
            if at.data is not own[0]:
                own = at.data, examples(at.data)
            found = content(data[row]) if own[1] is None or at.wrapped else own[1].digest(at.row)
        yield at, *found


def _same_label(forget: Dataset[Any], one: int, retain: Dataset[Any], other: int) -> bool:
    """Whether both give one row the same label; it has none but in pairs (input, label)."""
    if not (origin(forget, one).wrapped or origin(retain, other).wrapped):
        return True
    pairs = [each for each in (forget[one], retain[other]) if isinstance(each, (tuple, list)) and len(each) == 2]
    return len(pairs) < 2 or content(pairs[0][1])[0] == content(pairs[1][1])[0]


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
