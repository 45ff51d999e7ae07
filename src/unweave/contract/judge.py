"""What the clauses say of the values that were seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unweave.contract import bounds
from unweave.contract.clauses import DEFAULT_SHARE, Contract, Forget, Keep
from unweave.contract.metrics import SCORE, key
from unweave.contract.observer import Seen
from unweave.contract.reading import Reading, State
from unweave.contract.sets import Sets
from unweave.errors import ConfigurationError
from unweave.evaluation.value import Array

PLACES = ("guard", "final")
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Limit:
    """A keep clause, for one group, with what decides it.

    Attributes:
        clause: as it was written.
        group: its group; None without groups.
        key: of the values.
        base: the original's value on the guard set.
        judged: the limit in what is averaged: nats for perplexity, the metric's unit elsewhere.
        members: the group's examples of guard and final set.
        alphas: error probability of a test on guard and final set.
        binary: whether the original's values are 0 and 1 alone.
    """

    clause: Keep
    group: str | None
    key: str
    base: float
    judged: float
    members: Mapping[str, Mask]
    alphas: Mapping[str, float]
    binary: bool

    @property
    def limit(self) -> float:
        """In the metric's unit."""
        return self._shown(self.judged)

    def read(self, now: Seen, original: Seen, place: str) -> Reading | None:
        """The clause on a set; None where the set is not there or holds no example of the group."""
        if place not in now or not (mask := self.members[place]).any():
            return None
        before, after = original[place][self.key][mask], now[place][self.key][mask]
        worse = before - after if self.clause.higher else after - before
        bound = bounds.upper(worse, self.alphas[place], binary=_binary(before) and _binary(after))
        measured = float(worse.mean()) if np.isfinite(worse).all() else math.inf
        return Reading(self._shown(measured), self._shown(bound), "met" if bound <= self.judged else "missed", len(worse))

    def used(self, reading: Reading) -> float:
        """Share of the budget that the bound uses up: 0 at that of an unchanged model, 1 at the limit."""
        bound = reading.bound if reading.bound is not None else reading.measured
        return max(0.0, (bound - self._unchanged) / max(self.limit - self._unchanged, 1e-12))

    @property
    def _unchanged(self) -> float:
        n = int(self.members["guard"].sum())
        return bounds.smallest(n, self.alphas["guard"]) if self.binary else 0.0

    def _shown(self, value: float) -> float:
        if self.clause.metric != "perplexity":
            return value
        return self.base * math.expm1(value) if value < 700 else math.inf


@dataclass(frozen=True, eq=False)
class Goal:
    """A forget clause, with the level that meets it."""

    clause: Forget
    limit: float
    alpha: float

    def read(self, seen: Seen, suffix: str) -> Reading:
        """The clause on the forget set, and on the holdout."""
        forget = seen[f"forget{suffix}"]
        values = forget[SCORE if self.clause.metric == "unseen" else self._key]
        n = len(values)
        if not np.isfinite(values).all():
            return Reading(math.nan, None, "missed", n, "not finite")
        match self.clause.metric:
            case "unseen":
                return self._unseen(forget, seen[f"holdout{suffix}"])
            case "retrained":
                measured = float(values.mean())
                return Reading(measured, None, _state(abs(measured - self.limit) <= self.clause.level), n)
            case "loss":
                measured = float(values.mean())
                return Reading(measured, None, _state(measured >= self.limit), n)
            case _:
                measured = float(values.mean())
                return Reading(measured, None, _state(measured <= self.limit), n)

    def progress(self, now: Reading, start: Reading) -> float:
        """From 0, the original, to 1, met."""
        if now.met:
            return 1.0
        margin = self.clause.level if self.clause.metric == "retrained" else 0.0
        whole = abs(start.measured - self.limit) - margin
        left = abs(now.measured - self.limit) - margin
        if self.clause.metric == "unseen" and now.measured <= self.limit:
            return 0.99  # the attack fails, the losses still differ
        share = 1 - left / whole if whole > 0 else 0.0
        return min(max(share, 0.0), 0.99) if math.isfinite(share) else 0.0

    @property
    def _key(self) -> str:
        return "loss" if self.clause.metric == "loss" else "accuracy"

    def _unseen(self, forget: Mapping[str, Array], holdout: Mapping[str, Array]) -> Reading:
        n = len(forget[SCORE])
        if not all(np.isfinite(values).all() for values in (*forget.values(), *holdout.values())):
            return Reading(math.nan, None, "missed", n, "not finite")
        measured = bounds.attack(forget[SCORE], holdout[SCORE])
        p = bounds.below(forget["loss"], holdout["loss"])
        gap = float(forget["loss"].mean() - holdout["loss"].mean())
        note = f"forget loss {gap:+.3g} nats from the holdout's, p = {p:.2g} that it is not below"
        return Reading(measured, None, _state(measured <= self.limit and p >= self.alpha), n, note)


def accuracy(
    seen: Seen, limits: Sequence[Limit], kept: Sequence[Reading | None]
) -> tuple[float | None, float | None, float | None]:
    """Accuracy on the forget set, accuracy lost on the guard set and its bound: the state as a point in one plane."""
    right = seen["forget"].get("accuracy")
    pairs = zip(limits, kept, strict=True)
    lost = [r for limit, r in pairs if limit.clause.metric == "accuracy" and limit.group is None and r is not None]
    if right is None or not lost:
        return None, None, None
    worst = max(lost, key=lambda reading: reading.measured)
    return float(right.mean()), worst.measured, worst.bound


def goals(contract: Contract, clauses: Sequence[Forget], original: Seen) -> list[Goal]:
    """The forget clauses with their levels."""
    found = []
    for clause in clauses:
        level = clause.level
        if clause.metric == "unseen":
            level = 0.5 + level
        elif clause.metric == "retrained":
            level = float(original["retrained"]["accuracy"].mean())
        found.append(Goal(clause, level, 1 - contract.confidence))
    return found


def limits(contract: Contract, clauses: Sequence[Keep], original: Seen, sets: Sets) -> tuple[list[Limit], list[str]]:
    """The keep clauses, one by one and group by group, and notes on what was decided for the user.

    Raises:
        ConfigurationError: a limit that these examples cannot decide, a group without examples, or an original whose
            values are not finite; all faults at once.
    """
    found: list[Limit] = []
    faults: list[str] = []
    notes: list[str] = []
    for number, clause in enumerate(clauses):
        name = key(clause.metric, number)
        values = original["guard"][name]
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            faults.append(f"keep {clause.title}: {bad} of {len(values)} values of the original are not finite.")
            continue
        grouped = list(_groups(clause, sets, len(values), len(original.get("final", {}).get(name, ()))))
        for group, members in grouped:
            counted = {"guard": contract.shrinks + 1, "final": 1}
            alphas = {p: bounds.level(contract.confidence, counted[p], len(grouped)) for p in PLACES}
            own = values[members["guard"]]
            if not len(own):
                faults.append(f"keep {clause.title}: group {group} has no example in the guard set.")
                continue
            made = _limit(clause, group, name, own, members, alphas)
            problem = _undecidable(made, own)
            if problem and contract.keep is None:
                made = _widened(made, own)
                notes.append(
                    f"Default: {clause.title} within {100 * made.limit:.2g} points of the original's instead of "
                    f"{100 * DEFAULT_SHARE:g} %: with {len(own)} guard examples no less can be decided."
                )
            elif problem:
                faults.append(problem)
            found.append(made)
    if faults:
        raise ConfigurationError(faults)
    return found, notes


def _groups(clause: Keep, sets: Sets, guard: int, final: int) -> Iterator[tuple[str | None, dict[str, Mask]]]:
    if clause.by is None:
        yield None, {"guard": np.ones(guard, dtype=bool), "final": np.ones(final, dtype=bool)}
        return
    names = [np.array(sets.groups(clause, place) or [], dtype=object) for place in range(2)]
    for group in sorted({*names[0], *names[1]}):
        yield group, {place: np.asarray(own == group, dtype=bool) for place, own in zip(PLACES, names, strict=True)}


def _limit(
    clause: Keep, group: str | None, name: str, own: Array, members: Mapping[str, Mask], alphas: Mapping[str, float]
) -> Limit:
    mean = float(own.mean())
    if clause.metric == "perplexity":
        base = math.exp(min(mean, 700.0))
        share = clause.relative if clause.relative is not None else clause.limit / base
        return Limit(clause, group, name, base, math.log1p(share), members, alphas, binary=False)
    judged = clause.limit if clause.relative is None else clause.limit * abs(mean)
    return Limit(clause, group, name, mean, judged, members, alphas, _binary(own))


def _undecidable(limit: Limit, own: Array) -> str:
    """Why an unchanged model could not keep the limit; empty if it could."""
    if not limit.judged > 0:
        return f"keep {limit.clause.title}: a share of the original's value, {limit.base:.3g}, leaves no limit."
    alpha, n = limit.alphas["guard"], len(own)
    if not _binary(own) or (least := bounds.smallest(n, alpha)) <= limit.judged:
        return "" if n > 1 else f"keep {limit.clause.title}: one guard example decides nothing."
    asked, smallest = f"{limit.judged:.3g}", f"{least:.3g}"
    if limit.clause.relative is not None and limit.base:
        asked, smallest = f"{limit.clause.relative:.3g} of {limit.base:.3g}", f"{least / abs(limit.base):.3g}"
    where = f" for group {limit.group}" if limit.group is not None else ""
    return (
        f"keep {limit.clause.title}{where}: a limit of {asked} cannot be decided with {n} guard examples: even an "
        f"unchanged model would miss it. The smallest that can is {smallest}; yours needs "
        f"{bounds.needed(limit.judged, alpha)} examples. Ask for less, group less, or give a larger guard set."
    )


def _widened(limit: Limit, own: Array) -> Limit:
    wide = 2 * bounds.smallest(len(own), limit.alphas["guard"])
    return replace(limit, clause=replace(limit.clause, absolute=wide, relative=None), judged=wide)


def _state(met: bool) -> State:
    return "met" if met else "missed"


def _binary(values: Array) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())
