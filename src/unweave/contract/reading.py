"""Frozen values: what the clauses said of a state, and what came of a contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Reading:
    """What one clause said of one state.

    Attributes:
        measured: keep: how much worse than the original, in the metric's unit; forget: the value itself.
        bound: keep: the one-sided upper bound on `measured`, which decides; None for a forget clause.
        met: within the limit.
        n: examples that entered.
        note: what else was looked at.
    """

    measured: float
    bound: float | None
    met: bool
    n: int
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain data; `Reading(**fields)` reads them back."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """One clause at the end of a run.

    Attributes:
        side: what kind of clause.
        clause: in words.
        group: of a clause that has one limit per group.
        limit: keep: tolerated worsening, in the metric's unit; forget: the level.
        guard: on the set that steered the run; None if it was never read.
        final: on a set that steered nothing; None without one.
        metric: its name; of a function that has none, what it is called.
    """

    side: Literal["keep", "forget"]
    clause: str
    group: str | None
    limit: float
    guard: Reading | None
    final: Reading | None
    metric: str = ""

    @property
    def met(self) -> bool:
        """Whether every reading that there is is within the limit, and there is one."""
        found = [reading.met for reading in (self.guard, self.final) if reading is not None]
        return bool(found) and all(found)

    def as_dict(self) -> dict[str, Any]:
        """As in `summary.json`."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True)
class Look:
    """One reading on the way.

    Attributes:
        step: after which.
        used: share of the budget that was used up, the largest over the keep clauses; above 1 a clause is broken.
        forgotten: mean progress of the forget clauses, 0 (the original) to 1 (met); None without any.
        kept: whether every keep clause held.
        rolled_back: whether the run went back from here.
        forget_accuracy: on the forget set; None where no clause is about accuracy.
        lost: accuracy, of the guard set's, against the original; None likewise. The largest, if there are several.
        bound: the upper confidence bound of `lost`, which decides.
    """

    step: int
    used: float
    forgotten: float | None
    kept: bool
    rolled_back: bool = False
    forget_accuracy: float | None = None
    lost: float | None = None
    bound: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a contract.

    Attributes:
        reason: why the run ended.
        verdicts: one for every clause and group, of the model that was left.
        looks: how often the contract was read during the run.
        every: steps between two looks.
        seconds: what reading cost, first and last readings included.
        rollbacks: how often the run went back.
        path: all looks, in order.
        notes: what was decided for the user.
        left: share of the utility budget that the model that was left leaves.
        share: of the run's time that reading took; the loop fills it in.
    """

    reason: str
    verdicts: Sequence[Verdict]
    looks: int
    every: int
    seconds: float
    rollbacks: int
    path: Sequence[Look]
    notes: Sequence[str]
    left: float = 1.0
    share: float = 0.0

    @property
    def met(self) -> bool:
        """Every clause is met, on every set."""
        return all(verdict.met for verdict in self.verdicts)

    @property
    def kept(self) -> bool:
        """Every keep clause holds on the guard set."""
        return all(v.guard is not None and v.guard.met for v in self.verdicts if v.side == "keep")

    def of(self, seconds: float) -> Outcome:
        """The same, with the share of a run of so many seconds."""
        return replace(self, share=self.seconds / max(seconds, self.seconds) if self.seconds > 0 else 0.0)

    def __str__(self) -> str:
        lines = [f"{self.reason}; read {self.looks} times, {self.rollbacks} rollbacks"]
        for verdict in self.verdicts:
            read = verdict.final or verdict.guard
            shown = "not read" if read is None else f"{read.measured:.4g}"
            shown += "" if read is None or read.bound is None else f", at most {read.bound:.4g}"
            group = "" if verdict.group is None else f" ({verdict.group})"
            met = "met" if verdict.met else "MISSED"
            lines.append(f"{verdict.side:6} {verdict.clause}{group}: {shown}; limit {verdict.limit:.4g}: {met}")
        return "\n".join([*lines, *self.notes])

    def clauses(self) -> list[dict[str, Any]]:
        """`contract` of `summary.json`."""
        return [verdict.as_dict() for verdict in self.verdicts]

    def reading(self) -> Mapping[str, Any]:
        """`contract_reading` of `summary.json`."""
        return {
            "looks": self.looks,
            "left": self.left,
            "every": self.every,
            "seconds": self.seconds,
            "share": self.share,
            "rollbacks": self.rollbacks,
            "path": [asdict(look) for look in self.path],
            "notes": list(self.notes),
        }
