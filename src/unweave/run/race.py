"""`method: auto`: who is to unlearn is found on the request itself, by successive halving under a budget of gradients.

Of m candidates, ceil(log2 m) rounds; each has the same share of the budget, divided evenly among those still in. In a
round each begins at the original, with its defaults, and goes on until its share is spent, the contract is met or the
run's steps are used up; one that ended so does not run again. No step is cut: a leg may take what its last step takes
beyond its share. The better half stays: first who meets every clause on the guard set, then who is further on the way
of the forget clauses without breaking a keep clause, then who uses less of the budget. The final set is not read.

The guard set then has chosen one of m: its level is divided by m (`Contract.tried`), in the race and in the run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from unweave.errors import ConfigurationError, UnsupportedError
from unweave.execution import world
from unweave.methods import made
from unweave.modalities._base import Job
from unweave.objectives import Objectives
from unweave.recipe.auto import HEADLINE, Auto
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import NamedSection
from unweave.results import Record, Result
from unweave.run import directory
from unweave.run.identity import check_same, identity, resolve
from unweave.run.interrupt import REASON
from unweave.run.session import Session, check_decidable, check_readable
from unweave.store import atomically, kept_json, write_json
from unweave.watch import Watch

FILE = "race.json"
KEYS = {"among", "gradients", "tried", "identity", "legs", "winner"}
SPENT = "its share of the race is spent"
Json = dict[str, Any]


@dataclass
class Purse:
    """Ends a leg once its gradients are spent: a callback and a stop."""

    gradients: int
    spent: int = 0

    def on_step(self, record: Record, objectives: Objectives) -> None:
        """Counts."""
        self.spent = objectives.taken_gradients

    def __call__(self, record: Record) -> str | None:
        """Why the leg ends."""
        return SPENT if self.spent >= self.gradients else None


def raced(
    recipe: Recipe, job: Job, folder: Path, fresh: Callable[[], nn.Module], *, resume: bool, watch: Watch
) -> Recipe:
    """The recipe with the method that wins; what is left of the race is run, and `race.json` in the folder tells of it.

    Args:
        recipe: with `method: auto`.
        job: its.
        folder: of the run.
        fresh: opens the original.
        resume: the folder may hold a part of this race, or its end.
        watch: told about every leg.

    Raises:
        ConfigurationError: the folder holds another race, or a run without one; or a candidate or the contract does
            not fit the data.
        UnsupportedError: several processes.
    """
    if world() > 1:
        raise UnsupportedError("method: auto races in one process: name the method, or start without torchrun.")
    assert recipe.contract is not None, "its faults were told"
    auto = Auto(**recipe.method.arguments)
    names, budget = auto.candidates(job.task), auto.budget(recipe.run.steps)
    asked, tried = recipe, recipe.contract.tried * len(names)
    recipe = recipe.model_copy(update={"contract": recipe.contract.model_copy(update={"tried": tried})})
    same = identity(resolve(named(recipe, HEADLINE[0]), job, folder))
    same = {key: value for key, value in same.items() if not key.startswith("method.")}
    same |= {"method.among": list(names), "method.gradients": budget}
    found = _read(folder / FILE) if resume else None
    if found is not None:
        check_same(found["identity"], same)
    else:
        if resume:
            _check_unraced(folder)
        _check(recipe, job, names, fresh)
        directory.clear(folder)
        atomically(folder / "recipe.yaml", asked.to_yaml().encode())
        found = {"among": names, "gradients": budget, "tried": tried, "identity": same, "legs": [], "winner": None}
        write_json(folder / FILE, found)
    if found["winner"] is None:
        found["winner"] = _halved(recipe, job, folder, fresh, found, watch)
        write_json(folder / FILE, found)
    return named(recipe, found["winner"])


def _check_unraced(folder: Path) -> None:
    """Refuses to take a run that never raced for the beginning of a race: it would be emptied."""
    if any((folder / name).exists() for name in (directory.SUMMARY, "checkpoint")):
        raise ConfigurationError(
            f"{folder} holds a run whose method was not raced ({FILE} is not there): name its method (recipe.yaml says "
            "which), or begin again with --overwrite or another --output"
        )


def _check(recipe: Recipe, job: Job, names: Sequence[str], fresh: Callable[[], nn.Module]) -> None:
    """Refuses what a leg would, before anything is written."""
    for name in names:
        check_readable(named(recipe, name), job)
    if recipe.run.until not in ("auto", None) or recipe.run.relearner:
        none = [name for name in names if made(name, job.task, nn.Linear(1, 1), None, {}).forget is None]
        if none:
            raise ConfigurationError(
                f"run.until, run.relearner: they are about a forget loss, and of those that race {', '.join(none)} "
                f"{'has' if len(none) == 1 else 'have'} none: name others in method.among, or leave these keys out"
            )
    shared = (
        f"The guard set judges all of {len(names)}, so its level is divided by them: fewer in method.among, or a wider "
        "limit."
    )
    check_decidable(named(recipe, names[0]), job, fresh(), shared)


def named(recipe: Recipe, name: str) -> Recipe:
    """The recipe with a method as it comes."""
    return recipe.model_copy(update={"method": NamedSection(name=name)})


def told(folder: Path) -> Json:
    """What `summary.json` has of a race; nothing where there was none."""
    found = _read(folder / FILE)
    return (
        {}
        if found is None
        else {"race": {key: found[key] for key in ("winner", "among", "gradients", "tried", "legs")}}
    )


def better(legs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the candidates of a round, the best first; those that are alike stay in their order."""
    ranked = sorted(legs, key=lambda leg: (not leg["met"], -leg["forgotten"], leg["used"]))
    return [leg["method"] for leg in ranked]


def _halved(recipe: Recipe, job: Job, folder: Path, fresh: Callable[[], nn.Module], found: Json, watch: Watch) -> str:
    """Runs the legs that are not there, and names the winner."""
    left: list[str] = list(found["among"])
    rounds = max(1, math.ceil(math.log2(len(left))))
    asks = recipe.contract is not None and recipe.contract.asks_retrained
    retrained = job.reference(1, watch) if asks else None
    for number in range(1, rounds + 1):
        share = max(2, found["gradients"] // (rounds * len(left)))
        for place, name in enumerate(left):
            watch(f"race, round {number} of {rounds}", place, len(left))
            if any(leg["round"] == number and leg["method"] == name for leg in found["legs"]):
                continue
            before = next((leg for leg in found["legs"] if leg["method"] == name and leg["ended"] != SPENT), None)
            if before is not None:  # it ended by itself, and would do so again
                leg = {**before, "gradients": 0, "seconds": 0.0}
            else:
                leg = _leg(named(recipe, name), job, fresh(), retrained, share)
            found["legs"].append({**leg, "round": number, "method": name})
            write_json(folder / FILE, found)
        watch(f"race, round {number} of {rounds}", len(left), len(left))
        ranked = better([leg for leg in found["legs"] if leg["round"] == number])
        left = [name for name in left if name in ranked[: -(-len(left) // 2)]]
    return ranked[0]


def _leg(recipe: Recipe, job: Job, original: nn.Module, retrained: nn.Module | None, share: int) -> Json:
    """How far one candidate comes with so many gradients."""
    begin, purse = time.perf_counter(), Purse(share)
    session = Session.start(recipe, job, original, retrained, final=False)
    with session.parts.ready():
        result = session.parts.run(recipe.run.steps, callbacks=(purse,), stop=(purse,), repair=session.repair)
    if result.reason == REASON:
        raise KeyboardInterrupt
    return {
        **standing(result),
        "gradients": purse.spent,
        "steps": result.progress.made,
        "seconds": time.perf_counter() - begin,
        "ended": result.reason,
    }


def standing(result: Result) -> Json:
    """Where a run under a contract stands on its guard set: whether no clause is missed, how far it has forgotten
    without breaking a keep clause (1 where nothing says how far), and the share of the budget that it uses.
    """
    assert result.contract is not None, "it ran under one"
    verdicts = result.contract.verdicts
    goals = any(verdict.side == "forget" for verdict in verdicts)
    kept = [point.forgotten or 0.0 for point in result.contract.path if point.kept]
    return {
        "met": all(verdict.state != "missed" for verdict in verdicts),
        "forgotten": max(kept, default=0.0) if goals else 1.0,
        "used": 1.0 - result.contract.left,
    }


def _read(file: Path) -> Json | None:
    if not file.is_file():
        return None
    found = kept_json(file)
    if found is None or not found.keys() >= KEYS:
        raise ConfigurationError(f"{file} is no race that a run wrote: begin again with --overwrite")
    return found
