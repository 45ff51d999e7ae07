"""The loop's part of a contract: looks every few steps, goes back when a clause breaks, ends with the best state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from unweave.contract import bounds, judge
from unweave.contract.clauses import Contract
from unweave.contract.judge import Goal, Limit, goals, limits
from unweave.contract.metrics import DRAWN
from unweave.contract.observer import Observer, Seen, chosen
from unweave.contract.reading import MET, Outcome, Reading, Verdict, Waypoint, ended
from unweave.contract.remaining import left
from unweave.contract.sets import Sets, check, remarks
from unweave.contract.snapshot import Shrinking, Snapshot, Stateful, Taken
from unweave.errors import of_set
from unweave.objectives import Objectives
from unweave.places import HALVINGS, Place
from unweave.rules._base import Left
from unweave.tasks import Known, Task

DRAWN_EVERY = 25  # steps between two looks at what is drawn, at most: each costs many passes, and none would be too few
SHARE = 0.07  # of a run's time that looks cost; with first and last readings and snapshots it stays below a tenth
PASSES = 3  # what a step costs per example, in forward passes: forward and backward
HALF = 0.5  # of the budget: what a run that pays back uses more of is not paid back
SHRINK = 0.5  # of the step length, at every rollback
SPENT = "budget used up"
HARD = "hard: utility cannot be kept"
NOTHING = "nothing to forget: the forget clauses are met by the original"
ONLY = "changed once: the method takes no further step"
OVER = ("steps used up", "pairs exhausted", ONLY)


class Keeper:
    """Keeps one run within a contract.

    After every `every` steps the guard set, and samples of forget set and holdout, are read once. A state that keeps
    all keep clauses is remembered; one that breaks any is left: weights, buffers, rule and stepper go back to the
    last state that kept all, the step length is halved, and the run goes on, `contract.shrinks` times at most. Where
    what is drawn is read, the first steps of an optimizer break what the next ones mend: there the run goes on from a
    broken state, as one of these times, while less is broken at every look, and from one that meets every clause until
    half of the budget is paid back. Elsewhere a state of a run that repairs, which meets everything after one that did
    not, is moved back to where it just does, on the way between the two (`places.Shelf.back`). At the end the model is
    the state that forgot most among those that kept every keep clause, and of those that meet every forget clause,
    where what is drawn is read, the one that uses least of the budget; the original is one of them. Every decision
    depends on counts and seeds alone, and is the same on all ranks.

    Args:
        contract: the limits.
        task: what the model does.
        sets: what is read.
        per_step: examples that a step sees, forget and retain, over all ranks.
        retrained: a model retrained without the forget set, for the clause of that name.
        first: opens what the keep clauses compare with; None: the model as it is when the run begins.
        final: whether the final sets are read at the end; of a run that is one of several to choose from they are not.
        seed: of the samples, and of every forward's randomness.

    Attributes:
        every: steps between two looks.
        rollbacks: how often the run went back.
        path: all looks.
        notes: what was decided for the user.
        start: share of the budget that the original uses, by its upper bounds.

    Raises:
        ConfigurationError: a set or a model that a clause needs is missing; all of them at once.
    """

    def __init__(
        self,
        contract: Contract,
        task: Task,
        sets: Sets,
        *,
        per_step: int,
        retrained: nn.Module | None = None,
        first: Callable[[], nn.Module] | None = None,
        final: bool = True,
        seed: int = 0,
    ) -> None:
        self.contract, self._sets, self._retrained, self._first = contract, sets, retrained, first
        known = Known(task)
        self._keeps, self._unit, self._graded = contract.keeps(known.utility), known.unit, known.graded
        self._forgets = contract.forgets(sets.whole_class, known.utility)
        check(self._keeps, self._forgets, sets, retrained is not None, known)
        alpha = bounds.level(contract.confidence, contract.paths)
        read, metrics = chosen(sets, self._keeps, self._forgets, task, seed, alpha)
        if not final:
            read = {name: sample for name, sample in read.items() if not name.endswith("final")}
        self._final, self._observer = final, Observer(task, read, metrics, seed=seed)
        cost = self._observer.passes(("guard", "forget", "holdout"))
        due = max(1, math.ceil(cost / (SHARE * PASSES * per_step)))
        drawn = self._observer.reads(DRAWN)
        self.every = contract.every or (min(due, DRAWN_EVERY) if drawn else due)
        self._mends = drawn
        self._kept, self._best = Snapshot(), Snapshot()
        self._original: Seen = {}
        self._limits: list[Limit] = []
        self._goals: list[Goal] = []
        self._starts: list[Reading] = []
        self._now: list[list[Reading | None]] = [[], []]  # keep and forget readings of the best state
        self.cost: Callable[[], float] | None = None  # of states that meet every clause, the cheapest is the best
        self.path: list[Waypoint] = []
        self.notes: list[str] = []
        self.rollbacks = self._failed = self._last = 0
        self.start = 0.0
        self._broken = math.inf  # how much was, at a look that the run went on from
        self._moved, self._reach, self._used, self._rank, self.seconds = False, 0.0, 0.0, [0.0, 0.0], 0.0

    def keep_at(self, place: Place) -> None:
        """Where its states to go back to lie; before it begins."""
        self._kept, self._best = Snapshot(place), Snapshot(place)

    @property
    def left(self) -> float:
        """Share of the budget that the last kept state leaves: the least over the keep clauses, in [0, 1]."""
        return max(1.0 - self._used, 0.0)

    def remaining(self, record: Taken, steps: int | None) -> Left:
        """What is left of the budget after a step, for rules that follow it; `steps` of the run are left."""
        return left(self._limits, self.left, steps, record, self._unit)

    @property
    def reached(self) -> bool:
        """Whether the best state keeps every keep clause and meets every forget clause, of which there are some."""
        return bool(self._goals) and all(each is not None and each.met for side in self._now for each in side)

    @property
    def last(self) -> Waypoint | None:
        """The reading after the last step, if there was one."""
        return self.path[-1] if self.path and self.path[-1].step == self._last else None

    @property
    def clauses(self) -> list[Verdict]:
        """The clauses with their limits, nothing read yet; empty before `begin`."""
        keeps = [
            Verdict("keep", each.text, each.group, each.limit, None, None, each.clause.title, each.clip)
            for each in self._limits
        ]
        return keeps + [
            Verdict("forget", each.text, None, each.limit, None, None, each.clause.metric) for each in self._goals
        ]

    def passes(self, steps: int) -> int:
        """Forward passes of one example that all looks of a run of so many steps take, at most."""
        due = ("guard", "forget", "holdout")
        first, each, last = map(
            self._observer.passes, ((*due, "final"), due, ("final", "forget final", "holdout final"))
        )
        back = 2 * HALVINGS + 1 if self._forgets and not self._mends else 0
        return first + (-(-steps // self.every) + back) * each + last

    def check(self, model: nn.Module) -> None:
        """Refuses what `begin` would, on the model as it is then, before anything is done that cannot be undone.

        Raises:
            ConfigurationError: a limit that the guard set cannot decide.
        """
        compared = model if self._first is None else self._first()
        seen = self._observer.see(compared, ["guard", "final"])
        limits(self.contract, self._keeps, seen, self._sets, self._unit, self._graded)

    def begin(self, model: nn.Module, rule: Stateful, stepper: Shrinking) -> str | None:
        """Reads the original, checks that the limits can be decided, and says why there is nothing to do, if so.

        A keeper that was loaded goes on as it was.

        Raises:
            ConfigurationError: a limit that the guard set cannot decide.
        """
        if self._original:
            return None
        began = time.perf_counter()
        now = self._observer.see(model, ["guard", "final", "forget", "holdout"])
        seen = dict(now) if self._first is None else {**now, **self._observer.see(self._first(), ["guard", "final"])}
        if self._retrained is not None and "retrained" in {clause.metric for clause in self._forgets}:
            with of_set("the retrained model"):
                name = "forget final" if self._final else "forget"
                seen["retrained"] = self._observer.see(self._retrained, [name])[name]
        self._settle(seen)
        kept, forgotten = self._readings(now)
        self.start = self._budget(kept)
        self._used, self._rank = self.start, self._ranked(now, forgotten)
        self._now = [kept, forgotten]
        self._kept.take(model, rule, stepper)
        self._best.take(model)
        self.seconds += time.perf_counter() - began
        if any(reading is not None and not reading.met for reading in kept):
            return SPENT
        return NOTHING if self._goals and all(reading.met for reading in self._starts) else None

    def read_if_due(self, record: Taken, objectives: Objectives, rule: Stateful, stepper: Shrinking) -> str | None:
        """After a step: reads if it is time to, goes back if a clause broke; the reason to end, if there is one."""
        self._last = record.number
        if record.accepted:
            self._moved, self._reach = True, max(self._reach, record.radius or 0.0)
        if record.number % self.every or not self._moved:
            return None
        began = time.perf_counter()
        try:
            return self._visit(objectives.model, rule, stepper)
        finally:
            self.seconds += time.perf_counter() - began

    def finish(self, model: nn.Module, reason: str) -> Outcome:
        """Puts the best state into the model, reads the final set once, and says what came of the contract."""
        began = time.perf_counter()
        if not self._original:
            return Outcome(reason, (), 0, self.every, 0.0, 0, (), ())
        looks = len(self.path)
        # A run that ended by itself between two looks is read once more: its last steps may be the best.
        if self._moved:
            self._judged(model)
        if reason in (*OVER, SPENT) and self.reached:
            reason = MET
        # The model is settled before the final set is opened: nothing that this reading says can choose it.
        self._best.restore(model)
        seen = self._observer.see(model, ["final", "forget final", "holdout final"])
        guards = [*self._now[0], *self._now[1]]
        finals = [limit.read(seen, self._original, "final") for limit in self._limits]
        finals += [goal.read(seen, " final") if self._final else None for goal in self._goals]
        read = zip(self.clauses, guards, finals, strict=True)
        verdicts = [replace(clause, guard=guard, final=final) for clause, guard, final in read]
        self._moved = False
        reason = ended(reason, [verdict.as_dict() for verdict in verdicts])
        if reason.startswith("hard:") and not reason.startswith(HARD):
            reason = f"{HARD} ({reason.removeprefix('hard:').strip()})"
        self.seconds += time.perf_counter() - began
        path, notes = tuple(self.path), (*self.notes, *self._nothing_kept())
        room = max(1.0 - self._budget(self._now[0]), 0.0)
        return Outcome(reason, verdicts, looks, self.every, self.seconds, self.rollbacks, path, notes, room)

    def _nothing_kept(self) -> list[str]:
        """Says it where what is left is the model that the run began with."""
        if not self.path or any(point.kept for point in self.path):
            return []
        return [
            f"No state that was looked at keeps the limits (the last, after step {self.path[-1].step}, uses "
            f"{self.path[-1].used:.3g} times the budget), so that the model is what it was. Take shorter steps, or "
            "look more often (every)."
        ]

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs: tensors, numbers and text."""
        if not self._original:
            return {}
        return {
            "original": {
                place: {name: torch.from_numpy(values.copy()) for name, values in seen.items()}
                for place, seen in self._original.items()
            },
            "kept": self._kept.state_dict(),
            "best": self._best.state_dict(),
            "now": [[None if each is None else each.as_dict() for each in side] for side in self._now],
            "path": [asdict(point) for point in self.path],
            "counters": {name: getattr(self, name) for name in _COUNTERS},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken, with the same contract and sets."""
        if not state:
            return
        self._settle({p: {k: v.numpy().copy() for k, v in seen.items()} for p, seen in state["original"].items()})
        self._kept.load_state_dict(state["kept"])
        self._best.load_state_dict(state["best"])
        self._now = [[None if each is None else Reading.of(each) for each in side] for side in state["now"]]
        self.path = [Waypoint(**point) for point in state["path"]]
        for name in _COUNTERS:
            setattr(self, name, state["counters"][name])

    def _visit(self, model: nn.Module, rule: Stateful, stepper: Shrinking) -> str | None:
        self._moved = False
        if self._judged(model):
            if self.cost is not None and not self._mends and self._met_now():
                self._kept.back(model, partial(self._just_met, model))
            self._kept.take(model, rule, stepper)
            self._reach, self._broken = 0.0, math.inf
            paid = not self._mends or self.path[-1].used <= HALF
            if self._failed > self.contract.shrinks:
                return SPENT
            return MET if self.path[-1].forgotten == 1.0 and paid else None
        if self._failed < self.contract.shrinks and self._mends and self.path[-1].used < self._broken:
            self._failed, self._broken = self._failed + 1, self.path[-1].used
            return None
        # A clause broke: back to the last state that kept all of them, and on with half the step, or the end.
        self._kept.restore(model, rule, stepper)
        if self._failed >= self.contract.shrinks:
            return SPENT
        self.rollbacks, self._failed, self._broken = self.rollbacks + 1, self._failed + 1, math.inf
        self.path[-1] = replace(self.path[-1], rolled_back=True)
        stepper.shrink(SHRINK, self._reach or None)
        # From here on that state remembers the shorter step: a second rollback to it shall not lengthen it again.
        self._kept.stepper = dict(stepper.state_dict())
        self._reach = 0.0
        return None

    def _met_now(self) -> bool:
        """Whether this state meets every clause, and the last kept one, to which it can go back, did not."""
        before = next((point.forgotten for point in reversed(self.path[:-1]) if point.kept), None)
        return self.path[-1].forgotten == 1.0 and before != 1.0

    def _just_met(self, model: nn.Module) -> bool:
        """Reads a state on the way back; one that breaks a clause opens another sequence of tests, as a rollback."""
        kept = self._judged(model)
        self._failed += not kept
        return kept and self.path[-1].forgotten == 1.0

    def _judged(self, model: nn.Module) -> bool:
        """Reads a state, remembers it if it is the best so far; whether every keep clause holds."""
        seen = self._observer.see(model, ["guard", "forget", "holdout"])
        kept, forgotten = self._readings(seen)
        holds, used, rank = (
            all(r is not None and r.met for r in kept),
            self._budget(kept),
            self._ranked(seen, forgotten),
        )
        accuracy = judge.accuracy(seen, self._limits, kept)
        self.path.append(Waypoint(self._last, used, rank[0] if self._goals else None, holds, False, *accuracy))
        if holds:
            self._used = used
            if rank > self._rank:
                self._best.take(model)
                self._rank, self._now = rank, [kept, forgotten]
        return holds

    def _readings(self, seen: Seen) -> tuple[list[Reading | None], list[Reading | None]]:
        kept = [limit.read(seen, self._original, "guard") for limit in self._limits]
        return kept, [goal.read(seen, "") for goal in self._goals]

    def _budget(self, kept: list[Reading | None]) -> float:
        pairs = zip(self._limits, kept, strict=True)
        return max((limit.used(reading) for limit, reading in pairs if reading is not None), default=0.0)

    def _ranked(self, seen: Seen, forgotten: list[Reading | None]) -> list[float]:
        """What decides which of two states forgot more: progress of the forget clauses, then the forget loss."""
        steps = [
            goal.progress(now, start)
            for goal, now, start in zip(self._goals, forgotten, self._starts, strict=True)
            if now is not None
        ]
        if (self.cost is not None or self._mends) and steps and min(steps) == 1.0:
            used = self._budget([limit.read(seen, self._original, "guard") for limit in self._limits])
            return [1.0, -used, 0.0 if self.cost is None else -self.cost()]
        loss = float(seen["forget"]["loss"].mean())
        return [sum(steps) / len(steps) if steps else 0.0, loss if math.isfinite(loss) else -math.inf]

    def _settle(self, original: Seen) -> None:
        """Everything that follows from the original's values."""
        made, notes = limits(self.contract, self._keeps, original, self._sets, self._unit, self._graded)
        self._original, self._limits = original, made
        self._goals = goals(self.contract, self._forgets, original, self._unit)
        self._starts = [goal.read(original, "") for goal in self._goals]
        self.notes = [*notes, *remarks(self._keeps, self._forgets, self._sets, default=self.contract.forget is None)]


_COUNTERS = ("rollbacks", "_failed", "_broken", "start", "_last", "_moved", "_reach", "_used", "_rank", "seconds")
