"""Which training rows to forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from unweave.errors import ConfigurationError, suggest

Labels = np.ndarray | Tensor | Sequence[int]


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of one training set, two int64 arrays.

    Raises:
        ConfigurationError: one of them is empty, repeats a row, or they share rows.
    """

    forget: np.ndarray
    retain: np.ndarray

    def __post_init__(self) -> None:
        faults = []
        for name, rows in (("forget", self.forget), ("retain", self.retain)):
            if not len(rows):
                faults.append(f"the {name} set must hold at least one example, found 0: check the request")
            if len(np.unique(rows)) < len(rows):
                faults.append(f"the {name} set must name each row once, found {len(rows)} rows with repetitions")
        shared = np.intersect1d(self.forget, self.retain)
        if len(shared):
            faults.append(
                f"forget and retain must share no row, found {len(shared)} in both "
                f"(first: {_listed(shared)}): take them out of the retain set"
            )
        if faults:
            raise ConfigurationError(faults)


def by_index(rows: Labels, count: int) -> Split:
    """Forget the given rows of `count`, keep the others.

    Raises:
        ConfigurationError: no rows, all rows, a row twice, or one outside [0, count).
    """
    forget = np.asarray(rows)
    if forget.size and not np.issubdtype(forget.dtype, np.integer):
        raise ConfigurationError(f"rows must be integers, found {forget.dtype}")
    outside = forget[(forget < 0) | (forget >= count)]
    if len(outside):
        raise ConfigurationError(
            f"rows must be at least 0 and below {count} (the number of training examples), "
            f"found {len(outside)} outside (first: {_listed(outside)})"
        )
    forget = np.sort(forget).astype(np.int64)
    return Split(forget, np.setdiff1d(np.arange(count), forget))


def by_class(labels: Labels, forget: int | Sequence[int]) -> Split:
    """Forget every row of a class or of several.

    Raises:
        ConfigurationError: no row has this label, or every row has.
    """
    labels = np.asarray(labels)
    return by_index(np.flatnonzero(_members(labels, forget)), len(labels))


def by_person(people: Sequence[object] | np.ndarray | Tensor, wanted: Sequence[object]) -> Split:
    """Forget every row of some people.

    Args:
        people: whose row each is, `[n]`; ids are compared as text.
        wanted: ids of those to forget.

    Raises:
        ConfigurationError: nobody, an id twice, one that no row has, or all people.
    """
    plain = people.tolist() if isinstance(people, np.ndarray | Tensor) else people
    rows, ids = np.asarray([str(each) for each in plain]), [str(each) for each in wanted]
    if not ids:
        raise ConfigurationError("expected the id of at least one person, found 0")
    if twice := len(ids) - len(set(ids)):
        raise ConfigurationError(f"each id must be there once, found {twice} named again")
    there = set(rows.tolist())
    if missing := [name for name in ids if name not in there]:
        points = f" The data write ids with a point, such as {missing[0]}.0." if f"{missing[0]}.0" in there else ""
        few = ", ".join(missing[:5]) + (", ..." if missing[5:] else "")
        raise ConfigurationError(
            f"{len(missing)} of {len(ids)} ids are not in the data ({few}): no such records to forget.{points}"
            f"{suggest(missing[0], sorted(there)[:1000])}"
        )
    return by_index(np.flatnonzero(np.isin(rows, ids)), len(rows))


def by_random_fraction(count: int, fraction: float, seed: int = 0) -> Split:
    """Forget `round(fraction * count)` rows drawn without replacement, at least one.

    Raises:
        ConfigurationError: the fraction is not between 0 and 1, or nothing would be kept.
    """
    _check_share("fraction", fraction)
    rows = np.random.default_rng(seed).choice(count, max(1, round(fraction * count)), replace=False)
    return by_index(rows, count)


def hardness_mix(labels: Labels, forget: int | Sequence[int], rho: float, seed: int = 0) -> Split:
    """HAMU's hardness mix: a share rho of a class request is drawn at random instead.

    With N rows of the class and k = int(rho N):
    rho = 0 forgets all N;
    0 < rho < 1 permutes the N, keeps the last N - k and draws k without replacement from all other rows, the
    k that were left out among them;
    rho = 1 forgets a random tenth of all rows.

    Args:
        labels: [n], of the training set.
        forget: the class, or several taken as one.
        rho: in [0, 1].
        seed: of the draws.

    Raises:
        ConfigurationError: rho is outside [0, 1], or no row has this label.

    "How Hard Can It Be? Hardness-Aware Multi-Objective Unlearning" (arXiv 2606.02119), its CIFAR-10 data.
    """
    if not 0 <= rho <= 1:
        raise ConfigurationError(f"rho must be in [0, 1], found {rho}")
    labels = np.asarray(labels)
    members = _members(labels, forget)
    if rho == 1:
        return by_random_fraction(len(labels), 0.1, seed)
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(np.flatnonzero(members))
    replaced = int(rho * len(shuffled))
    left_out, kept = shuffled[:replaced], shuffled[replaced:]
    drawn = generator.choice(np.concatenate([np.flatnonzero(~members), left_out]), replaced, replace=False)
    return by_index(np.concatenate([kept, drawn]), len(labels))


def without(split: Split, rows: Sequence[int]) -> Split:
    """A split of the rows that earlier requests have left.

    Raises:
        ConfigurationError: they have left nothing to forget, or nothing to keep.
    """
    gone = np.asarray(rows)
    return Split(np.setdiff1d(split.forget, gone), np.setdiff1d(split.retain, gone))


def _members(labels: np.ndarray, wanted: int | Sequence[int]) -> np.ndarray:
    classes = np.atleast_1d(wanted)
    missing = [int(label) for label in classes if label not in labels]
    if missing:
        present = np.unique(labels)
        raise ConfigurationError(
            f"class {', '.join(map(str, missing))} is not in the training set, "
            f"whose {len(present)} classes are {_listed(present, 20)}"
        )
    return np.isin(labels, classes)


def _check_share(name: str, share: float) -> None:
    if not 0 < share < 1:
        raise ConfigurationError(f"{name} must be above 0 and below 1, found {share}")


def _listed(values: np.ndarray, most: int = 5) -> str:
    return ", ".join(map(str, values[:most].tolist())) + (", ..." if len(values) > most else "")
