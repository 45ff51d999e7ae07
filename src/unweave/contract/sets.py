"""The examples that a contract reads: guard and final set, held out of the retain set, and samples of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import DataLoader

from unweave.contract import bounds
from unweave.contract.clauses import SHARES, Contract, Forget, Keep
from unweave.contract.metrics import DRAWN
from unweave.data.loaders import by_index, narrowed
from unweave.data.protocol import indexed
from unweave.errors import ConfigurationError
from unweave.samples import Data, Rows, labels, subset
from unweave.tasks import NATS, Known

CONDITIONS = 100  # guard examples, in each group, for whose conditions `bounds.images` are drawn
_ENOUGH = "Forget('loss', at_least=...)", "Forget('accuracy', at_most=...)"  # of a task without an accuracy, with one
SAMPLE = 500  # examples of the forget set, and of the holdout, that a look reads at most
HALVES = 200  # a holdout of at least so many is divided: one half steers the run, the other measures its end


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
    task: Known | None = None,
) -> tuple[Data, Sets]:
    """Takes guard and final set out of the retain set, stratified by label, unless they are given.

    The task says what a clause on its loss, or on what it draws, needs, and whether a label is a class, so that a
    request may remove one whole.

    Returns:
        What is left to train on, and all sets that the contract reads.

    Raises:
        ConfigurationError: the retain set cannot be divided, and no guard set was given.
    """
    forget, examples = by_index(forget), by_index(retain)
    known, whole = labels(examples), (task is None or task.classed) and whole_class(forget, examples)
    if guard is not None or not keeps:
        return retain, Sets(forget, guard, final, holdout, whole_class=whole)
    if not indexed(examples):
        raise ConfigurationError(
            "A contract with keep clauses measures on retain examples that no step trains on; this retain set has no "
            "index to divide it by (it is a stream, or a loader with a sampler of its own): pass guard=... (and "
            "final=...), a data set, or a loader over one."
        )
    total = len(examples)  # type: ignore[arg-type]
    wanted = guard_size(contract, keeps, total, known, task)
    train, first, second = divide(total, known, wanted, 0 if final is not None else wanted, seed)
    parts = subset(examples, first), final if final is not None else subset(examples, second)  # type: ignore[arg-type]
    rows = (first, second) if final is None else None
    left = narrowed(retain, train.tolist()) if isinstance(retain, DataLoader) else subset(retain, train)
    return left, Sets(forget, *parts, holdout, rows, whole)


def whole_class(forget: Data, retain: Data) -> bool:
    """Whether the forget set has labels, and none in common with the retain set."""
    known, own = labels(retain), labels(forget)
    return known is not None and own is not None and not np.isin(own, known).any()


def guard_size(
    contract: Contract, keeps: Sequence[Keep], total: int, known: Rows | None, task: Known | None = None
) -> int:
    """Examples of the guard set: enough for the sharpest clause, at most a quarter of the retain set.

    A clause on what is drawn needs but conditions of them, where the task draws several images for each.
    """
    wanted = []
    unit = NATS if task is None else task.unit
    several = task is not None and hasattr(task.recognised, "several")
    for clause in keeps:
        groups = 1
        if clause.by is not None:
            groups = len(set((known if known is not None else ()) if isinstance(clause.by, str) else clause.by)) or 1
        if clause.metric == "recognised" and several:
            wanted.append(groups * CONDITIONS)
            continue
        alpha = bounds.level(contract.confidence, contract.paths, groups)
        limit, clip, usual = clause.limit if clause.metric in SHARES else clause.averaged(), None, 1.0
        if clause.metric == "loss" and limit is None and clause.clip is None and unit != NATS:
            limit, usual = 1.0, math.inf  # whatever it will be: what one example counts is a multiple of it
        if clause.metric not in SHARES and limit is not None:
            clip = clause.counted(limit, usual, unit)
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
        places = ((np.arange(wanted) + 0.5) * len(rows) / wanted).astype(np.int64)
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


def check(keeps: Sequence[Keep], forgets: Sequence[Forget], sets: Sets, retrained: bool, known: Known) -> None:
    """Refuses clauses that have nothing to be read on, or that the task has no such values for.

    Raises:
        ConfigurationError: everything that is missing.
    """
    wanted = {clause.metric for clause in forgets}
    faults = _foreign({clause.metric for clause in keeps if isinstance(clause.metric, str)} | wanted, known)
    if "unseen" in wanted and sets.holdout is None:
        faults.append(
            "contract: 'unseen' compares with examples that the model was never trained on: pass holdout=..., or "
            f"say when forgetting is enough: Contract(forget=[{_ENOUGH[known.accuracy is not None]}])."
        )
    if "retrained" in wanted and not retrained:
        faults.append("contract: 'retrained' compares with a retrained model: pass retrained=...")
    if keeps and sets.guard is None:
        faults.append("contract: keep clauses are measured on a guard set: pass guard=...")
    if _size(sets.holdout) == 0:
        faults.append("contract: the holdout is empty: no example like those to forget was kept out of training.")
    faults += [
        f"contract: the {name} set is empty, and keep clauses are measured on examples. Give some; of fewer than "
        f"{bounds.PARTS} retain examples none are held out."
        for name, data in (("guard", sets.guard), ("final", sets.final))
        if keeps and _size(data) == 0
    ]
    if faults:
        raise ConfigurationError(faults)


def _foreign(metrics: set[str], known: Known) -> list[str]:
    """Metrics that another kind of task has."""
    has = {
        "of classes": (("accuracy", "retrained"), known.accuracy is not None),
        "of classes of places": (("overlap",), known.overlap is not None),
        "of likelihoods": (("perplexity",), known.unit == NATS and known.utility != "loss"),
        "of models that draw, where the task says what is recognised": (DRAWN, known.recognised is not None),
    }
    own = [name for names, there in has.values() if there for name in names]
    return [
        f"contract: {name!r} is {kind}, and this task has none. It has: {', '.join(['loss', 'unseen', *own])}."
        for kind, (names, there) in has.items()
        for name in names
        if name in metrics and not there
    ]


def remarks(keeps: Sequence[Keep], forgets: Sequence[Forget], sets: Sets, default: bool) -> list[str]:
    """What limits the claim, or was decided for the user; `default`: the forget clauses are."""
    found = []
    if keeps and sets.final is None:
        found.append("No final set: every keep clause was judged on the guard set alone, which steered the run.")
    size = _size(sets.holdout)
    if any(c.metric == "unseen" for c in forgets) and size is not None and size < HALVES:
        found.append("The holdout is small: the same examples steered the run and measure its end.")
    if default and len(forgets) > 1:
        found.append("Default: a class removed whole must be unseen and no longer recognised.")
    return found


def _size(data: Data | None) -> int | None:
    return len(data) if data is not None and indexed(data) else None  # type: ignore[arg-type]
