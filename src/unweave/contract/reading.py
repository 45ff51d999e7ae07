"""Frozen values: what the clauses said of a state, and what came of a contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

State = Literal["met", "missed", "undecided"]
NONE, MET = "no contract", "contract met"
REACHED = "limits reached on the examples that steered the run"
WORDS: Mapping[State, str] = {"met": "met", "missed": "MISSED", "undecided": "UNDECIDED"}

PLAIN = {
    "accuracy falls": "how often it is right may fall{}",
    "loss rises": "its mean error may rise{}",
    "overlap falls": "how well what it marks overlaps with what is to be marked may fall{}",
    "perplexity rises": "how much true texts surprise it (perplexity) may rise{}",
    "recognised falls": "how often it draws what is asked for may fall{}",
    "forget accuracy at most": "it may be right on at most{} of the data to forget",
    "forget accuracy within": "how often it is right on the data to forget has to be within{}",
    "forget loss at least": "its mean error on the data to forget has to be at least{}",
    "share of forget conditions still drawn as asked at most": "what is to be forgotten may still be drawn at "
    "most{} of the times it is asked for",
    "unseen: membership AUC at most": "an attacker may tell the data to forget from unseen data at most{} of the time, "
    "where a coin has 0.5",
}
"""How a clause begins, and how it is said in plain words."""


def plainly(row: Mapping[str, Any]) -> str:
    """A clause in plain words; one of a metric of the user's own has the words that the user gave it."""
    text = str(row["clause"])
    known = (plain.format(text.removeprefix(begins)) for begins, plain in PLAIN.items() if text.startswith(begins))
    return next(known, text) + ("" if row.get("group") is None else f" ({row['group']})")


def state_of(row: Mapping[str, Any]) -> State:
    """The state of a clause, or of a reading, as it is written; older records say only whether it was met."""
    found: State = row.get("state") or ("met" if row["met"] else "missed")
    return found


def worst(states: Iterable[State]) -> State:
    """Missed if any is missed, else undecided if any is, else met."""
    found = set(states)
    return "missed" if "missed" in found else "undecided" if "undecided" in found else "met"


def overall(rows: Iterable[Mapping[str, Any]]) -> State:
    """The state of a whole contract from its clauses, as they are written."""
    return worst(map(state_of, rows))


def headline(rows: Sequence[Mapping[str, Any]]) -> str:
    """What came of a contract, in a few words that every output begins with."""
    if not rows:
        return NONE
    states = [state_of(row) for row in rows]
    of = f"of {len(rows)} {'clause' if len(rows) == 1 else 'clauses'}"
    match worst(states):
        case "met":
            return MET
        case "missed":
            return f"contract missed: {states.count('missed')} {of}"
        case _:
            return f"contract not shown: {states.count('undecided')} {of} undecided"


def ended(reason: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Why a run ended, in words that its clauses bear out: what steered it may have met what its end does not."""
    return REACHED if reason == MET and overall(rows) != "met" else reason


@dataclass(frozen=True)
class Reading:
    """What one clause said of one state of the model.

    Attributes:
        measured: keep: how much worse than the original, in the metric's unit; forget: the value itself.
        bound: keep: the one-sided upper bound on `measured`, which decides; None for a forget clause.
        state: "met", "missed" or "undecided", where so many examples show neither (`judge`).
        n: examples that entered.
        note: what else was looked at.
        low: keep: the one-sided lower bound; above the limit it is missed.
    """

    measured: float
    bound: float | None
    state: State
    n: int
    note: str = ""
    low: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is shown to be within the limit."""
        return self.state == "met"

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain data."""
        return {**asdict(self), "met": self.met}

    @staticmethod
    def of(row: Mapping[str, Any]) -> Reading:
        """What `as_dict` gave, of this version or an older one."""
        fields = {name: row.get(name) for name in ("measured", "bound", "n", "low")}
        return Reading(**fields, state=state_of(row), note=row.get("note", ""))  # type: ignore[arg-type]


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
        clip: keep: what one example counts at most, in what is averaged; None where the metric is 0 or 1.
    """

    side: Literal["keep", "forget"]
    clause: str
    group: str | None
    limit: float
    guard: Reading | None
    final: Reading | None
    metric: str = ""
    clip: float | None = None

    @property
    def state(self) -> State:
        """The worse of the readings that there are; without any nothing is decided."""
        found: list[State] = [reading.state for reading in (self.guard, self.final) if reading is not None]
        return worst(found or ["undecided"])

    @property
    def told(self) -> Reading | None:
        """The reading that decides: the one whose state is the clause's, of the final set if it is both."""
        found = [reading for reading in (self.final, self.guard) if reading is not None]
        return next((reading for reading in found if reading.state == self.state), None)

    @property
    def met(self) -> bool:
        """Whether every reading that there is shows it within the limit, and there is one."""
        return self.state == "met"

    def as_dict(self) -> dict[str, Any]:
        """As in `summary.json`."""
        read = {p: None if r is None else r.as_dict() for p, r in (("guard", self.guard), ("final", self.final))}
        return {**asdict(self), **read, "met": self.met, "state": self.state}


@dataclass(frozen=True)
class Waypoint:
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
    rolled_back: bool
    forget_accuracy: float | None = None
    lost: float | None = None
    bound: float | None = None

    @property
    def numbers(self) -> dict[str, float]:
        """What can be drawn over the steps, by name, without what is None."""
        found = {"budget_used": self.used, "forgotten": self.forgotten, "forget_accuracy": self.forget_accuracy}
        found |= {"accuracy_lost": self.lost, "accuracy_lost_at_most": self.bound}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def text(self) -> str:
        """In words."""
        gone = "" if self.forgotten is None else f", {100 * self.forgotten:.0f} % of the way forgotten"
        held = "" if self.kept else "; a keep clause broke" + (", and the run went back" if self.rolled_back else "")
        return f"{100 * self.used:.0f} % of the budget used{gone}{held}"


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
    path: Sequence[Waypoint]
    notes: Sequence[str]
    left: float = 1.0
    share: float = 0.0

    @property
    def state(self) -> State:
        """What came of all clauses together, on every set: the worst of them."""
        return worst(verdict.state for verdict in self.verdicts)

    @property
    def met(self) -> bool:
        """Every clause is met, on every set."""
        return self.state == "met"

    @property
    def headline(self) -> str:
        """The state in a few words."""
        return headline(self.clauses())

    @property
    def kept(self) -> bool:
        """Every keep clause holds on the guard set."""
        return all(v.guard is not None and v.guard.met for v in self.verdicts if v.side == "keep")

    def of(self, seconds: float) -> Outcome:
        """The same, with the share of a run of so many seconds."""
        return replace(self, share=self.seconds / max(seconds, self.seconds) if self.seconds > 0 else 0.0)

    def __str__(self) -> str:
        ended = "" if self.reason == self.headline else f"; ended: {self.reason}"
        lines = [f"{self.headline}{ended}; read {self.looks} times, {self.rollbacks} rollbacks"]
        for verdict in self.verdicts:
            read = verdict.told
            shown = "not read" if read is None else f"{read.measured:.4g}"
            shown += "" if read is None or read.bound is None else f", at most {read.bound:.4g}"
            group = "" if verdict.group is None else f" ({verdict.group})"
            said = f"limit {verdict.limit:.4g}: {WORDS[verdict.state]}"
            lines.append(f"{verdict.side:6} {verdict.clause}{group}: {shown}; {said}")
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
            "path": [asdict(point) for point in self.path],
            "notes": list(self.notes),
        }
