"""What modalities have in common whose requests name rows of one training set: images, and models that draw them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from unweave.data.index_file import read_rows
from unweave.data.splits import Split, by_index, by_random_fraction
from unweave.errors import ConfigurationError, suggest
from unweave.modalities._base import Rows
from unweave.recipe.sections import ForgetSection

Held = tuple[Rows, Rows]  # rows of guard and final set


class Numbered(Protocol):
    """Records that have a number each."""

    def subset(self, indices: Any) -> Self:
        """Those in these rows."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 of all, in their order."""
        ...


N = TypeVar("N", bound=Numbered)


def prints(sets: Mapping[str, Numbered], held: Held | None) -> dict[str, str]:
    """`Job.prints`: SHA-256 of each set, and of the rows that are held out."""
    found = {name: data.fingerprint() for name, data in sets.items()}
    if held is not None:
        found["held out"] = hashlib.sha256(b"".join(rows.tobytes() for rows in held)).hexdigest()
    return found


def divided(train: N, retain: N, split: Split, held: Held | None) -> tuple[N, dict[str, N]]:
    """`Job.divided`: the retain set without what is held out, and that."""
    if held is None:
        return retain, {}
    given = {name: train.subset(rows) for name, rows in zip(("guard", "final"), held, strict=True) if len(rows)}
    return train.subset(np.setdiff1d(split.retain, np.concatenate(held))), given


@dataclass(frozen=True, eq=False)
class Proxy:
    """Rows of a training set that make a request like another one, among what that one keeps.

    Attributes:
        split: to forget, and to keep; the guard set is among the latter.
        guard: on which no step trains.
        also: on no side, and yet learned by models that are retrained without the proxy, as the original learned them.
    """

    split: Split
    guard: Rows
    also: Rows


def proxy(groups: Rows | None, split: Split, guard: Rows, final: Rows, seed: int, repeats: Rows | None = None) -> Proxy:
    """As many rows as a request forgets, drawn among those that it keeps, of each group as many as it has.

    Where the request takes whole groups, as many others are taken whole, at most as many rows: what else there is of
    them, in guard and final set or beyond that number, is on no side, and no model that is retrained learns it.

    Args:
        groups: class, or whose record, of each row of the training set; None: all are of one kind.
        split: the request.
        guard, final: places of the retain set; none of them is drawn, and those of the final set are on no side.
        seed: of the draw.
        repeats: rows of the training set that repeat some of the request's on purpose: kept, and never drawn.

    Raises:
        ConfigurationError: there are not enough such rows.
    """
    rng, retain = np.random.default_rng([seed, 7919]), split.retain
    guard, final = retain[guard], retain[final]
    free = np.setdiff1d(retain, np.concatenate([guard, final, *([] if repeats is None else [repeats])]))
    own = np.zeros(int(max(split.forget.max(), retain.max())) + 1, dtype=np.int64) if groups is None else groups
    kinds, counts = np.unique(own[split.forget], return_counts=True)
    if np.isin(own[retain], kinds).any():
        drawn = [_drawn(free[own[free] == kind], int(n), rng) for kind, n in zip(kinds, counts, strict=True)]
        forget = gone = np.sort(np.concatenate(drawn))
    else:
        others = rng.permutation(np.unique(own[free]))
        if len(others) <= len(kinds):
            raise ConfigurationError(_NO_ROOM.format(f"{len(kinds)} of {len(others)} whole groups"))
        gone = retain[np.isin(own[retain], others[: len(kinds)])]
        there = free[np.isin(own[free], others[: len(kinds)])]
        forget = _drawn(there, min(len(split.forget), len(there)), rng)
    kept = np.setdiff1d(retain, np.concatenate([gone, final]))
    also = np.concatenate([split.forget, np.setdiff1d(final, gone)])
    return Proxy(Split(forget, kept), np.setdiff1d(guard, gone), np.sort(also))


_NO_ROOM = (
    "no room for a proxy request: it takes {} among the retained examples beside guard and final set. Search "
    "with --by contract, which needs none."
)


def _drawn(rows: Rows, count: int, rng: np.random.Generator) -> Rows:
    if len(rows) < count:
        raise ConfigurationError(_NO_ROOM.format(f"{count} of the same kind, and there are {len(rows)}"))
    return np.sort(rng.choice(rows, count, replace=False))


def split_of(wanted: ForgetSection, count: int) -> tuple[str, Split]:
    """A request in words, and its rows of `count`: those in a file, or a share of all.

    Raises:
        ConfigurationError: a row that is not there.
    """
    if wanted.indices is not None:
        return f"the rows in {wanted.indices.name}", by_index(read_rows(wanted.indices), count)
    assert wanted.random is not None, "the recipe holds exactly one of them"
    text = f"a random {100 * wanted.random:g} % of the training set"
    return text, by_random_fraction(count, wanted.random, wanted.seed)


class Classed(Numbered, Protocol):
    """Records that have a class each."""

    @property
    def labels(self) -> Tensor | None:
        """The class of each, `[n]`."""
        ...


C = TypeVar("C", bound=Classed)


def exchangeable(test: C, labels: Tensor) -> C:
    """As many test examples as there are with the labels of the forget set in their proportions."""
    return test.subset(exchangeable_rows(test, labels))


def exchangeable_rows(test: C, labels: Tensor) -> Tensor:
    """Their rows of the test set, sorted."""
    assert test.labels is not None, "they have classes"
    most = int(max(test.labels.max(), labels.max())) + 1
    wanted = labels.bincount(minlength=most).double() / len(labels)
    there = test.labels.bincount(minlength=most)
    whole = (there / wanted)[wanted > 0].min()  # so many would use up the scarcest label
    rows = [
        (test.labels == label).nonzero().flatten()[: int(share * whole + 1e-6)] for label, share in enumerate(wanted)
    ]
    return torch.cat(rows).sort().values


def numeric(names: Sequence[str]) -> bool:
    """Whether the names of classes are numbers, which would stand for other classes than their places do."""
    return all(name.isdecimal() for name in names) and list(names) != [str(place) for place in range(len(names))]


def class_numbers(wanted: int | str | tuple[int | str, ...], names: Sequence[str]) -> list[int]:
    """Class numbers; a name stands for its number. Where all names are numbers themselves, so does one without quotes.

    Raises:
        ConfigurationError: a name that no class has.
    """
    every = wanted if isinstance(wanted, tuple) else (wanted,)
    if numeric(names):
        every = tuple(map(str, every))
    unknown = [each for each in every if isinstance(each, str) and each not in names]
    if unknown:
        raise ConfigurationError(
            [f"no class is named {each!r}.{suggest(each, names)} There are: {', '.join(names)}." for each in unknown]
        )
    return [names.index(each) if isinstance(each, str) else each for each in every]
