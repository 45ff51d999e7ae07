"""One setting, tried on every request: plain data come of it, whatever process it ran in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unweave import modalities
from unweave.contract.reading import Waypoint
from unweave.errors import ConfigurationError, InfeasibleError, UnsupportedError
from unweave.execution import one_thread
from unweave.modalities._base import Job
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import NamedSection
from unweave.results import Record
from unweave.run.interrupt import REASON
from unweave.run.race import standing
from unweave.run.runner import placed
from unweave.run.session import Session
from unweave.tuning.space import Setting
from unweave.tuning.world import World, distance

PRUNED = "pruned: behind the median of the trials at this look"
STARTUP, WARMUP = 4, 0.25
"""Trials that nobody is compared with, and the share of a run's steps that each may take whatever it shows."""
FAR = 1e4
"""More than any distance in points, and than any share: a trial that misses a clause comes after all that miss none."""
LEAST = 1e-3  # of a violation: as good as met, and missed
Json = dict[str, Any]
Looks = Mapping[int, float]


@dataclass(frozen=True)
class Rivals:
    """What a trial knows of the others.

    Attributes:
        looks: how far behind each complete trial was, at every look of its first request, by step.
        best: the least objective of one that met every clause; None while there is none.
    """

    looks: Sequence[Looks] = ()
    best: float | None = None


@dataclass
class Look:
    """Hears of every look at the contract, and ends a run that is behind the median of the others there.

    Behind is how much of the way of the forget clauses is left, and how far beyond the budget it is.
    """

    rivals: Sequence[Looks]
    steps: int
    seen: dict[int, float] = field(default_factory=dict)
    hopeless: bool = False

    def __post_init__(self) -> None:
        self._trial: Any = None
        if len(self.rivals) >= STARTUP:
            self._trial = _running(self.rivals, self.steps)

    def on_reading(self, reading: Waypoint) -> None:
        """Is told of a look."""
        behind = 1.0 - (1.0 if reading.forgotten is None else reading.forgotten) + max(reading.used - 1.0, 0.0)
        self.seen[reading.step] = behind = min(behind, FAR)  # a model may have no finite value left
        if self._trial is not None:
            self._trial.report(behind, reading.step)
            self.hopeless = self._trial.should_prune()

    def __call__(self, record: Record) -> str | None:
        """Why the run ends here: after the look that showed it."""
        return PRUNED if self.hopeless else None


def _running(rivals: Sequence[Looks], steps: int) -> Any:
    """A trial of optuna's beside those, under its median pruner."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=int(WARMUP * steps))
    study = optuna.create_study(pruner=pruner)
    for looks in rivals:
        study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=dict(looks)))
    return study.ask()


def with_setting(recipe: Recipe, setting: Setting) -> Recipe:
    """The recipe with this method and this step."""
    return recipe.model_copy(update={section: NamedSection(**setting[section]) for section in ("method", "step")})


def attempt(world: World, number: int, setting: Setting, rivals: Rivals) -> Json:
    """A trial on every request, one after another, on one thread; what comes of it, as a line of `trials.jsonl`.

    It ends early where a look shows it behind the median, and between two requests where it cannot become the best
    any more: distances are not negative, and who misses a clause never wins over who misses none.

    Raises:
        ConfigurationError, UnsupportedError, InfeasibleError: of trial 0, which is the recipe itself; another trial
            is then "refused".
    """
    begin, look = time.perf_counter(), Look(rivals.looks, world.recipe.run.steps)
    row: Json = {"number": number, "setting": setting, "state": "complete", "why": "", "requests": []}
    recipe, found = with_setting(world.recipe, setting), row["requests"]
    try:
        with one_thread():
            for place, request in enumerate(world.requests):
                found.append(_on(world, recipe, place, request, look if place == 0 else None))
                if found[-1]["ended"] == PRUNED:
                    row |= {"state": "pruned", "why": PRUNED}
                elif len(found) < len(world.requests) and (why := _beaten(found, len(world.requests), rivals)):
                    row |= {"state": "pruned", "why": why}
                if row["state"] != "complete":
                    break
    except (ConfigurationError, UnsupportedError, InfeasibleError) as error:
        if number == 0:
            raise
        row |= {"state": "refused", "why": str(error)}
    if any(each["objective"] is None for each in found) and row["state"] == "complete":
        row |= {"state": "refused", "why": "a score that the distance is formed of is undefined"}
    whole = row["state"] == "complete"
    return row | {
        "objective": sum(each["objective"] for each in found) / len(found) if whole else None,
        "violation": sum(each["violation"] for each in found) / len(found) if whole else None,
        "looks": {str(step): value for step, value in look.seen.items()},
        "steps": sum(each["steps"] for each in found),
        "gradients": sum(each["gradients"] for each in found),
        "seconds": time.perf_counter() - begin,
    }


def _on(world: World, recipe: Recipe, place: int, request: Job, look: Look | None) -> Json:
    """One request under a setting: what is reached, and what is missed."""
    asks, begin, count = recipe.contract is not None and recipe.contract.asks_retrained, time.perf_counter(), Count()
    original = placed(modalities.original(recipe, request), recipe)
    retrained = request.reference(1, lambda *_: None) if asks else None
    session = Session.start(recipe, request, original, retrained, final=False)
    heard = () if look is None else (look,)
    with session.parts.ready():
        result = session.parts.run(recipe.run.steps, callbacks=(count, *heard), stop=heard, repair=session.repair)
    if result.reason == REASON:
        raise KeyboardInterrupt  # half a trial is none
    at: Json = {"met": True, "forgotten": 1.0, "used": 0.0} if result.contract is None else standing(result)
    objective: float | None = at["used"] if world.by == "contract" else None
    gaps: Json = {}
    if world.by == "proxies" and result.reason != PRUNED:
        sheet = request.score(session.model.eval(), "unlearned", None, lambda *_: None).scores
        objective, gaps = distance(request, sheet, world.retrained[place])
    return {
        "objective": objective,
        "violation": 0.0 if at["met"] else max(1.0 - at["forgotten"], LEAST) + max(at["used"] - 1.0, 0.0),
        "gaps": gaps,
        **at,
        "steps": result.progress.made,
        "gradients": count.gradients,
        "ended": result.reason,
        "seconds": time.perf_counter() - begin,
    }


@dataclass
class Count:
    """A callback that counts gradients."""

    gradients: int = 0

    def on_step(self, record: Record, objectives: Any) -> None:
        """So many so far."""
        self.gradients = objectives.taken_gradients


def _beaten(found: Sequence[Json], requests: int, rivals: Rivals) -> str:
    """Why a trial cannot become the best any more, after some of its requests; empty where it can."""
    if rivals.best is None:
        return ""
    if any(each["violation"] for each in found):
        return "pruned: it misses a clause, and another trial misses none"
    least = sum(each["objective"] or 0.0 for each in found) / requests
    return "pruned: what is left cannot make it the best" if least >= rivals.best else ""
