"""What the clauses say of the values that were seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unweave.contract import bounds
from unweave.contract.clauses import CLIPS, SHARES, Contract, Forget, Keep
from unweave.contract.metrics import SCORE, key
from unweave.contract.observer import Seen
from unweave.contract.reading import Reading, State
from unweave.contract.sets import Sets
from unweave.errors import ConfigurationError
from unweave.evaluation.metric import Array
from unweave.tasks import NATS

PLACES = ("guard", "final")
WIDE = 2.0  # margins that chance alone may use up where a forget clause is to be shown
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
        clip: what one example counts at most, in what is averaged; None if the original's values are 0 and 1 alone.
        unit: of the task's loss.
    """

    clause: Keep
    group: str | None
    key: str
    base: float
    judged: float
    members: Mapping[str, Mask]
    alphas: Mapping[str, float]
    clip: float | None
    unit: str = NATS

    @property
    def limit(self) -> float:
        """In the metric's unit."""
        return self._shown(self.judged)

    @property
    def text(self) -> str:
        """The clause in words, with the clip."""
        if self.clip is None:
            return self.clause.text(self.unit)
        return f"{self.clause.text(self.unit)}, each example counted up to {self.clip:.3g}{self.averaged}"

    @property
    def averaged(self) -> str:
        """The unit of what is averaged, after a space; empty for a share and a function."""
        return f" {self.unit}" if self.clause.metric in CLIPS else ""

    def read(self, now: Seen, original: Seen, place: str) -> Reading | None:
        """The clause on a set; None where the set is not there or holds no example of the group."""
        if place not in now or not (mask := self.members[place]).any():
            return None
        before, after = original[place][self.key][mask], now[place][self.key][mask]
        worse = before - after if self.clause.higher else after - before
        clip = None if self.clip is None and _binary(before) and _binary(after) else self.clip or 1.0
        high, low = (bound(worse, self.alphas[place], clip) for bound in (bounds.upper, bounds.lower))
        measured = float(worse.mean()) if np.isfinite(worse).all() else math.inf
        state: State = "met" if high <= self.judged else "missed" if low > self.judged else "undecided"
        note = "" if clip is None else f"{100 * np.mean(worse > clip):.2g} % lose more than {clip:.3g}"
        return Reading(self._shown(measured), self._shown(high), state, len(worse), note, self._shown(low))

    def used(self, reading: Reading) -> float:
        """Share of the budget that the bound uses up: 0 at that of an unchanged model, 1 at the limit."""
        bound = reading.bound if reading.bound is not None else reading.measured
        return max(0.0, (bound - self._unchanged) / max(self.limit - self._unchanged, 1e-12))

    @property
    def _unchanged(self) -> float:
        n = int(self.members["guard"].sum())
        return self._shown(bounds.smallest(n, self.alphas["guard"], self.clip))

    def _shown(self, value: float) -> float:
        if self.clause.metric != "perplexity":
            return value
        return self.base * math.expm1(value) if value < 700 else math.inf


@dataclass(frozen=True, eq=False)
class Goal:
    """A forget clause, with the level that meets it.

    It is read on the forget set itself, so that the measured value decides. What compares it with others, "unseen" and
    "retrained", is met only if the examples can show it: chance alone must stay within `WIDE` margins.

    Attributes:
        clause: as it was written.
        limit: the level.
        alpha: error probability of a test.
        unit: of the task's loss.
    """

    clause: Forget
    limit: float
    alpha: float
    unit: str = NATS

    @property
    def text(self) -> str:
        """The clause in words."""
        return self.clause.text(self.unit)

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
                within, by_chance = abs(measured - self.limit) <= self.clause.level, bounds.smallest(n, self.alpha)
                return Reading(measured, None, self._state(within, by_chance), n, _left(by_chance))
            case "loss":
                measured = float(values.mean())
                return Reading(measured, None, "met" if measured >= self.limit else "missed", n)
            case _:
                measured = float(values.mean())
                return Reading(measured, None, "met" if measured <= self.limit else "missed", n)

    def progress(self, now: Reading, start: Reading) -> float:
        """From 0, the original, to 1, within the limit."""
        if now.state != "missed":
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
        return self.clause.metric if self.clause.metric in ("loss", "generated") else "accuracy"

    def _unseen(self, forget: Mapping[str, Array], holdout: Mapping[str, Array]) -> Reading:
        n = len(forget[SCORE])
        if not all(np.isfinite(values).all() for values in (*forget.values(), *holdout.values())):
            return Reading(math.nan, None, "missed", n, "not finite")
        measured = bounds.attack(forget[SCORE], holdout[SCORE])
        p = bounds.below(forget["loss"], holdout["loss"])
        gap = float(forget["loss"].mean() - holdout["loss"].mean())
        by_chance = bounds.chance(n, len(holdout[SCORE]), self.alpha)
        note = f"forget loss {gap:+.3g} {self.unit} from the holdout's, p = {p:.2g} that it is not below; "
        note += _left(by_chance)
        return Reading(measured, None, self._state(measured <= self.limit and p >= self.alpha, by_chance), n, note)

    def _state(self, within: bool, by_chance: float) -> State:
        return "missed" if not within else "met" if by_chance <= WIDE * self.clause.level else "undecided"


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


def goals(contract: Contract, clauses: Sequence[Forget], original: Seen, unit: str = NATS) -> list[Goal]:
    """The forget clauses with their levels."""
    found = []
    for clause in clauses:
        level = clause.level
        if clause.metric == "unseen":
            level = 0.5 + level
        elif clause.metric == "retrained":
            level = float(original["retrained"]["accuracy"].mean())
        found.append(Goal(clause, level, 1 - contract.confidence, unit))
    return found


def limits(
    contract: Contract, clauses: Sequence[Keep], original: Seen, sets: Sets, unit: str = NATS, graded: bool = False
) -> tuple[list[Limit], list[str]]:
    """The keep clauses, one by one and group by group, and notes on what was decided for the user.

    `graded` says whether the task's accuracy has values between 0 and 1, whatever the original's are.

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
            counted = {"guard": contract.paths, "final": 1}
            alphas = {p: bounds.level(contract.confidence, counted[p], len(grouped)) for p in PLACES}
            own = values[members["guard"]]
            if not len(own):
                faults.append(f"keep {clause.title}: group {group} has no example in the guard set.")
                continue
            whole = _binary(own) and not (clause.metric == "overlap" or (graded and clause.metric == "accuracy"))
            made = _limit(clause, group, name, own, members, alphas, unit, whole)
            problem = _undecidable(made, own)
            if problem and contract.keep is None and (wide := _widened(made, own)) is not None:
                made = wide
                share = made.clause.metric in SHARES or made.clause.relative is not None
                room = f"{100 * made.clause.limit:.2g} {'points' if made.clause.relative is None else '%'}"
                notes.append(
                    f"Default: {clause.title} within {room if share else f'{made.limit:.2g} {unit}'} of the "
                    f"original's instead of {100 * (clause.relative or 0.0):g} %: with {len(own)} guard examples "
                    "no less can be decided with room for a change."
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
    names = [np.repeat(own, max(size // max(len(own), 1), 1)) for own, size in zip(names, (guard, final), strict=True)]
    for group in sorted({*names[0], *names[1]}):
        yield group, {place: np.asarray(own == group, dtype=bool) for place, own in zip(PLACES, names, strict=True)}


def _limit(
    clause: Keep,
    group: str | None,
    name: str,
    own: Array,
    members: Mapping[str, Mask],
    alphas: Mapping[str, float],
    unit: str,
    whole: bool,
) -> Limit:
    mean = float(own.mean())
    base = math.exp(min(mean, 700.0)) if clause.metric == "perplexity" else mean
    judged = clause.averaged(base) or 0.0
    clip = None
    if clause.clip is not None or clause.metric in CLIPS or not whole:
        share = clause.metric not in CLIPS and own.min() >= 0 and own.max() <= 1
        clip = clause.counted(judged, 1.0 if share else float(np.ptp(own)), unit)
    return Limit(clause, group, name, base, judged, members, alphas, clip, unit)


def _undecidable(limit: Limit, own: Array) -> str:
    """Why an unchanged model could not keep the limit; empty if it could."""
    title = f"keep {limit.clause.title}" + (f" for group {limit.group}" if limit.group is not None else "")
    if not limit.judged > 0:
        return f"{title}: a share of the original's value, {limit.base:.3g}, leaves no limit."
    if limit.clip is not None and limit.clip <= limit.judged:
        return (
            f"{title}: one example must be able to count more than the limit, {limit.judged:.3g}; found {limit.clip}."
        )
    alpha, n, clip = limit.alphas["guard"], len(own), limit.clip
    if (least := bounds.smallest(n, alpha, clip)) <= limit.judged:
        return ""
    unit = limit.averaged
    asked, smallest = f"{limit.judged:.3g}{unit}", f"{least:.3g}{unit}"
    if limit.clause.relative is not None and limit.clause.metric != "perplexity":
        asked, smallest = f"{limit.clause.relative:.3g} of {limit.base:.3g}", f"{least / abs(limit.base):.3g}"
    elif limit.clause.relative is not None:
        smallest += f" (relative: {math.ceil(1000 * math.expm1(least)) / 1000:g})"
    what = "images" if limit.clause.metric == "recognised" else "guard examples"
    counted = "" if clip is None else f" that count up to {clip:.3g}{unit} each"
    less = "" if clip is None else f"; or let one example count less: clip={0.9 * clip * limit.judged / least:.2g}"
    return (
        f"{title}: a limit of {asked} cannot be decided with {n} {what}{counted}: even an unchanged model "
        f"would miss it. The smallest that can is {smallest}; yours needs {bounds.needed(limit.judged, alpha, clip)} "
        f"examples. Ask for less, group less, or give a larger guard set{less}."
    )


def _widened(limit: Limit, own: Array) -> Limit | None:
    """Twice what can be decided; None if no model could miss that, as no example counts more."""
    wide = 2 * bounds.smallest(len(own), limit.alphas["guard"], limit.clip)
    if wide >= (1.0 if limit.clip is None else limit.clip):
        return None
    if limit.clause.metric == "perplexity":
        return replace(limit, clause=replace(limit.clause, relative=math.expm1(wide)), judged=wide)
    return replace(limit, clause=replace(limit.clause, absolute=wide, relative=None), judged=wide)


def _left(by_chance: float) -> str:
    return f"so many examples leave {by_chance:.2g} to chance"


def _binary(values: Array) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())
