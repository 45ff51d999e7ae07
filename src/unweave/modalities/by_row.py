"""What modalities have in common whose requests name rows of one training set: images, and models that draw them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
    given = {name: train.subset(rows) for name, rows in zip(("guard", "final"), held, strict=True)}
    return train.subset(np.setdiff1d(split.retain, np.concatenate(held))), given


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
    assert test.labels is not None, "they have classes"
    most = int(max(test.labels.max(), labels.max())) + 1
    wanted = labels.bincount(minlength=most).double() / len(labels)
    there = test.labels.bincount(minlength=most)
    whole = (there / wanted)[wanted > 0].min()  # so many would use up the scarcest label
    rows = [
        (test.labels == label).nonzero().flatten()[: int(share * whole + 1e-6)] for label, share in enumerate(wanted)
    ]
    return test.subset(torch.cat(rows).sort().values)


def class_numbers(wanted: int | str | tuple[int | str, ...], names: Sequence[str]) -> list[int]:
    """Class numbers; a name stands for its number.

    Raises:
        ConfigurationError: a name that no class has.
    """
    every = wanted if isinstance(wanted, tuple) else (wanted,)
    unknown = [each for each in every if isinstance(each, str) and each not in names]
    if unknown:
        raise ConfigurationError(
            [f"no class is named {each!r}.{suggest(each, names)} There are: {', '.join(names)}." for each in unknown]
        )
    return [names.index(each) if isinstance(each, str) else each for each in every]
