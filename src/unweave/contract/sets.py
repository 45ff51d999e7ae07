"""The examples that a contract reads: guard and final set, held out of the retain set, and samples of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from unweave.contract import bounds
from unweave.contract.clauses import Contract, Keep
from unweave.data.batches import count, moved
from unweave.data.pairs import fetched
from unweave.data.protocol import examples
from unweave.errors import ConfigurationError
from unweave.execution import seeded

Data = Dataset[Any] | DataLoader[Any]
Rows = NDArray[np.int64]
SAMPLE = 500  # examples of the forget set, and of the holdout, that a look reads at most
HALVES = 200  # a holdout of at least so many is divided: one half steers the run, the other measures its end
KEPT = 1 << 28  # bytes of a set that stay in memory
BATCH = 512


class Examples:
    """A fixed set in a fixed order, so that two models are compared example by example.

    Args:
        data: a data set, or a loader, whose batches are drawn once and kept.
        rows: of a data set; None is all.
        most: at most so many, the same ones each time.
        seed: of the sample, and of what the data draw at random.
    """

    def __init__(self, data: Data, *, rows: Rows | None = None, most: int | None = None, seed: int = 0) -> None:
        self._data, self._seed, self._kept = data, seed, None if indexed(data) else _drawn(data, most, seed)
        if self._kept is not None:
            self.size = sum(map(count, self._kept))
            return
        rows = np.arange(len(data)) if rows is None else rows  # type: ignore[arg-type]
        if most is not None and len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
        self._rows, self.size = rows, len(rows)

    def __len__(self) -> int:
        return self.size

    def batches(self, device: torch.device) -> Iterator[Any]:
        """The batches; small sets are collated once and stay in memory."""
        if self._kept is not None:
            yield from (moved(batch, device) for batch in self._kept)
            return
        found: list[Any] = []
        for start in range(0, len(self._rows), BATCH):
            with seeded(self._seed, start):
                found.append(fetched(self._data, torch.from_numpy(self._rows[start : start + BATCH])))  # type: ignore[arg-type]
            yield moved(found[-1], device)
            if _bytes(found) > KEPT:
                found.clear()
        if sum(map(count, found)) == len(self._rows):
            self._kept = found


@dataclass(frozen=True, eq=False)
class Sets:
    """What a contract reads.

    Attributes:
        forget: the forget set.
        guard: retain examples that no step trains on, which steer the run.
        final: others, which are read once, at the end.
        holdout: examples that the model was never trained on, exchangeable with the forget set.
        rows: rows of the retain set that became guard and final; None where they were given.
        retain: labels of all retain examples; None where nobody knows them.
        whole_class: the forget set has no label in common with the retain set.
    """

    forget: Data
    guard: Data | None = None
    final: Data | None = None
    holdout: Data | None = None
    rows: tuple[Rows, Rows] | None = None
    whole_class: bool = False

    def groups(self, clause: Keep, place: int) -> list[str] | None:
        """The group of every example of guard (0) or final (1); None without groups, or without the set.

        Raises:
            ConfigurationError: no labels to group by, or names for examples of another set.
        """
        data = (self.guard, self.final)[place]
        if clause.by is None or data is None:
            return None
        if isinstance(clause.by, str):
            if (found := labels(data)) is None:
                raise ConfigurationError("keep: by='class' needs a guard set of (input, label); name the groups.")
            return [str(label) for label in found]
        if self.rows is None:
            raise ConfigurationError(
                "keep: by=[...] names the group of each retain example; with guard= of your own, group by='class'."
            )
        if len(clause.by) <= int(max(part.max(initial=-1) for part in self.rows)):
            raise ConfigurationError(f"keep: by must name a group for every retain example; found {len(clause.by)}.")
        return [str(clause.by[row]) for row in self.rows[place]]


def hold_out(
    contract: Contract,
    keeps: Sequence[Keep],
    retain: Data,
    *,
    forget: Data,
    holdout: Data | None = None,
    guard: Data | None = None,
    final: Data | None = None,
    seed: int = 0,
) -> tuple[Data, Sets]:
    """Takes guard and final set out of the retain set, stratified by label, unless they are given.

    Returns:
        What is left to train on, and all sets that the contract reads.

    Raises:
        ConfigurationError: the retain set cannot be divided, and no guard set was given.
    """
    known, whole = labels(retain), whole_class(forget, retain)
    if guard is not None or not keeps:
        return retain, Sets(forget, guard, final, holdout, whole_class=whole)
    if not indexed(retain):
        raise ConfigurationError(
            "A contract with keep clauses measures on retain examples that no step trains on; this retain set has no "
            "index to divide it by: pass guard=... (and final=...), or a data set."
        )
    total = len(retain)  # type: ignore[arg-type]
    wanted = guard_size(contract, keeps, total, known)
    train, first, second = divide(total, known, wanted, 0 if final is not None else wanted, seed)
    parts = subset(retain, first), final if final is not None else subset(retain, second)  # type: ignore[arg-type]
    rows = (first, second) if final is None else None
    return subset(retain, train), Sets(forget, *parts, holdout, rows, whole)  # type: ignore[arg-type]


def whole_class(forget: Data, retain: Data) -> bool:
    """Whether the forget set has labels, and none in common with the retain set."""
    known, own = labels(retain), labels(forget)
    return known is not None and own is not None and len(own) > 0 and not np.isin(own, known).any()


def guard_size(contract: Contract, keeps: Sequence[Keep], total: int, known: Rows | None) -> int:
    """Examples of the guard set: enough for the sharpest clause, at most a quarter of the retain set."""
    wanted = []
    for clause in keeps:
        groups = 1
        if clause.by is not None:
            groups = len(set((known if known is not None else ()) if isinstance(clause.by, str) else clause.by)) or 1
        alpha = bounds.level(contract.confidence, contract.shrinks + 1, groups)
        limit, clip = clause.limit if clause.metric == "accuracy" else clause.averaged(), None
        if clause.metric != "accuracy" and limit is not None:
            clip = clause.counted(limit, 1.0)
        wanted.append(groups * bounds.size(limit, alpha, clip))
    return min(max(wanted), total // bounds.PARTS)


def divide(total: int, known: Rows | None, guard: int, final: int, seed: int) -> tuple[Rows, Rows, Rows]:
    """Rows to train on, of the guard and of the final set: disjoint, sorted, each label in its proportion.

    Shuffled, ordered by label, and taken at equal distances: of every label its share, up to one example.
    """
    rows = np.random.default_rng(seed).permutation(total)
    if known is not None:
        rows = rows[np.argsort(known[rows], kind="stable")]
    found = []
    for wanted in (guard, final):
        places = ((np.arange(wanted) + 0.5) * len(rows) / max(wanted, 1)).astype(np.int64)
        found.append(np.sort(rows[places]))
        rows = np.delete(rows, places)
    return np.sort(rows), found[0], found[1]


def halves(data: Data | None, seed: int) -> tuple[Rows | None, Rows | None]:
    """Rows of a holdout that steer and rows that measure; the same, all of them, if it is small or has no index."""
    if data is None or not indexed(data) or len(data) < HALVES:  # type: ignore[arg-type]
        return None, None
    total = len(data)  # type: ignore[arg-type]
    second, first, _ = divide(total, labels(data), total // 2, 0, seed)
    return first, second


def indexed(data: Data) -> bool:
    """Whether single examples can be asked for."""
    return not isinstance(data, DataLoader) and hasattr(data, "__len__") and hasattr(data, "__getitem__")


def subset(data: Dataset[Any], rows: Rows) -> Dataset[Any]:
    """Some rows of a data set."""
    if (own := examples(data)) is not None:
        return own.subset(rows)  # type: ignore[return-value]
    if type(data) is TensorDataset:
        return TensorDataset(*(tensor[torch.from_numpy(rows)] for tensor in data.tensors))
    return Subset(data, rows.tolist())


def labels(data: Data) -> Rows | None:
    """The label of every example of a data set of (input, label); None where there are none to be found."""
    if not indexed(data) or not len(data):  # type: ignore[arg-type]
        return None
    if (own := examples(data)) is not None:
        return None if own.labels is None else own.labels.numpy()
    if type(data) is TensorDataset:
        found: Any = data.tensors[1] if len(data.tensors) == 2 else None
    elif isinstance(data, Subset):
        inner = labels(data.dataset)
        return None if inner is None else inner[np.asarray(data.indices, dtype=np.int64)]
    else:
        pairs = isinstance(data[0], (tuple, list)) and len(data[0]) == 2  # type: ignore[index]
        found = [data[row][1] for row in range(len(data))] if pairs else None  # type: ignore[index,arg-type]
    try:
        array = np.asarray(found)
    except (TypeError, ValueError, RuntimeError):
        return None
    whole = array.ndim == 1 and array.dtype.kind in "iub"
    return array.astype(np.int64) if whole else None


def _drawn(data: Data, most: int | None, seed: int) -> list[Any]:
    """Batches of a loader, or of a stream, up to so many examples."""
    found: list[Any] = []
    with seeded(seed):
        for batch in data if isinstance(data, DataLoader) else DataLoader(data, batch_size=BATCH):
            found.append(batch)
            if most is not None and sum(map(count, found)) >= most:
                break
    return found


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return sum(map(_bytes, parts))
