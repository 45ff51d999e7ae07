"""`unweave evidence`: from a recipe to `evidence.json`, part by part."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from unweave import modalities
from unweave.audit import settings
from unweave.audit.attacks.ulira import ULira
from unweave.audit.estimate import Estimate, estimate, jobs
from unweave.audit.evidence_parts.pools import KINDS, Pools
from unweave.audit.models import World, make
from unweave.audit.origin import check_recipe, finished_run, trained_anew
from unweave.audit.parts import Card, numbers, robustness
from unweave.audit.seen import see
from unweave.audit.shadows import told
from unweave.audit.sizes import check_sizes
from unweave.audit.work import Training, work
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities.images import job as prepare
from unweave.modalities.images.recipe import ImageRecipe
from unweave.recipe.recipe import Recipe
from unweave.run.directory import check_evidence
from unweave.run.environment import environment, now
from unweave.run.identity import identity, resolve
from unweave.store import write_json
from unweave.watch import Watch, silent

FILE = "evidence.json"
PARTS = ("gaps", "per_example", "attacks", "over_runs", "robustness", "cost", "claim")
Json = dict[str, Any]


def unheard(estimated: Estimate) -> None:
    """Nobody listens."""


def evidence(
    recipe: Recipe,
    folder: Path,
    *,
    run: Path | None = None,
    workers: int = 1,
    references: Sequence[Path] = (),
    few: bool = False,
    watch: Watch = silent,
    promise: Callable[[Estimate], None] = unheard,
) -> Json:
    """Trains and unlearns what is missing, scores and attacks all models, and writes `evidence.json` into `folder`.

    Everything is kept in the user's cache by the fingerprint of what decides it: called again, after Ctrl-C or a kill,
    it does what is left. More than one worker needs a script that may be imported (`if __name__ == "__main__":`).

    Args:
        recipe: what to do; `recipe.evidence` says with how many models.
        folder: of a run of this recipe, or a new one.
        run: directory of a finished run of this recipe, whose own model is judged: unlearned model number 0 is the one
            that it left, and its original the one that it started from. None: all models are made from the recipe.
        workers: processes, one thread each.
        references: weights of models that never saw the forget set, two at least, in the place of retraining.
        few: go on with fewer than 20 examples in the forget set or in the holdout; the notes say what that costs.
        watch: told about every phase.
        promise: told what it will cost, before it begins.

    Returns:
        What `evidence.json` holds.

    Raises:
        ConfigurationError: the recipe does not fit its data, `folder` holds a run of another one, the test set holds
            training images, a reference saw the forget set, `run` is not finished or not as it was, or forget set or
            holdout have fewer than 20 examples (before anything is trained).
        UnsupportedError: the data are texts.
    """
    if not modalities.of(recipe).over_trainings:
        raise UnsupportedError(
            f"evidence over several trainings is for images; the data of this recipe are {recipe.data.source}. "
            "For texts: unweave run, with evaluation.retrained or evaluation.reference, and unweave audit."
        )
    assert isinstance(recipe, ImageRecipe)
    own = None if run is None else finished_run(run)
    request = prepare.request(recipe)
    if len(references) == 1:
        raise ConfigurationError("references: a spread needs two models that never saw the forget set, found 1")
    settings.relearning(recipe.evidence, 0)  # says what is wrong with it, before anything is trained
    same = identity(resolve(recipe, request, folder))
    if check_evidence(folder):
        check_recipe(folder, same)
    if own is not None:
        check_recipe(own.folder, same)
        own.check(request)
        recipe = recipe if references else trained_anew(recipe)
    world = World(recipe, request, tuple(references), own)
    if not few:
        check_sizes(world)
    begin, before = time.perf_counter(), _previous(folder / FILE)
    content = _head(world, before)

    def save(parts: Mapping[str, Any] | None = None, status: str = "running") -> None:
        content.update(parts or {}, status=status)
        content["pending"] = [name for name in PARTS if content[name] is None]
        content["seconds"] = (before.get("seconds") or 0.0 if before.get("status") == "running" else 0.0) + (
            time.perf_counter() - begin
        )
        write_json(folder / FILE, content)

    save()
    promise(estimate(world, workers))
    made: dict[Training, Json] = {}
    for title, kinds in (("training originals and references", KINDS[:2]), ("unlearning", KINDS[2:])):
        todo = jobs(world, "model", *kinds)
        made |= work(world, todo, workers, _telling(watch, title, len(todo)))
    content["runs"]["models"] = list(made.values())
    pools = Pools(*([see(world, make(world, kind, i)) for i in range(world.count(kind))] for kind in KINDS))
    save({"cost": _cost(made, pools, workers)})
    card = Card(world, pools, made, content["notes"])
    shadows = _shadows(world, workers, watch)
    for part in numbers(card, shadows):
        save(part)
    todo = jobs(world, "attack", *KINDS)
    attacks = work(world, todo, workers, _telling(watch, "attacks that bring back", len(todo)))
    save(robustness(card, attacks))
    save(card.conclude(), "complete")
    return content


def _head(world: World, before: Json) -> Json:
    """All that is known before the first training."""
    recipe, request = world.recipe, world.request
    margins = settings.margins(recipe.evidence)
    earlier = before.get("margins") or {}
    same = earlier.get("digest") == margins.digest
    notes = []
    if earlier and not same:
        notes.append("The margins were changed after evidence was first collected here: they were not settled before.")
    contract = recipe.contract
    return {
        "schema": 1,
        "status": "running",
        "pending": list(PARTS),
        "created": now(),
        "seconds": 0.0,
        "request": {
            "text": request.text,
            "data": recipe.data.source,
            "forget": len(request.forget),
            "retain": len(request.retain),
            "test": len(request.test),
            "holdout": len(world.holdout_rows),
            "classes": request.network.classes,
            "whole_classes": sorted(set(request.forget.labels.tolist()) - set(request.retain.labels.tolist())),
        },
        "own_run": None if world.own is None else world.own.part(),
        "method": {
            "name": recipe.method.name,
            "arguments": recipe.method.arguments,
            "step": recipe.step.model_dump(mode="json"),
            "steps": recipe.run.steps,
            "contract": None if contract is None else contract.model_dump(mode="json"),
        },
        "runs": {kind: world.count(kind) for kind in KINDS}
        | {"seeds": {k: [world.told_seed(k, i) for i in range(world.count(k))] for k in KINDS}, "models": []},
        "margins": {
            "points": dict(margins.points),
            "primary": margins.primary,
            "digest": margins.digest,
            "settled": earlier.get("settled") if same else now(),
        },
        **dict.fromkeys(PARTS),
        "notes": notes,
        "environment": environment(),
    }


def _cost(made: Mapping[Training, Json], pools: Pools, workers: int) -> Json:
    known = {kind: [m["seconds"] for m in made.values() if m["kind"] == kind and m["seconds"]] for kind in KINDS}
    means = {kind: fmean(seconds) if seconds else None for kind, seconds in known.items()}
    share = means["unlearned"] / means["retrained"] if means["unlearned"] and means["retrained"] else None
    peaks = [m["peak_memory_bytes"] for m in made.values() if m.get("peak_memory_bytes")]
    examples = sum(len(s.forget) + len(s.retain) + len(s.test) for kind in KINDS for s in pools.of(kind))
    return {
        "seconds": means,
        "total": sum(map(sum, known.values())),
        "share": share,
        "peak_memory_bytes": max(peaks, default=None),
        "workers": workers,
        "forwards": examples,
    }


def _shadows(world: World, workers: int, watch: Watch) -> ULira | None:
    """U-LiRA, if the recipe asks for it."""
    if not world.recipe.evidence.shadows:
        return None
    if world.recipe.model.weights is not None:
        raise ConfigurationError("evidence.shadows: shadows are trained anew, 'model.weights' names a trained model")
    todo = [("shadow", "shadow", number) for number in range(world.recipe.evidence.shadows)]
    return told(world, list(work(world, todo, workers, _telling(watch, "shadows for U-LiRA", len(todo))).values()))


def _telling(watch: Watch, title: str, total: int) -> Callable[[Training], None]:
    done = 0
    watch(title, 0, total)

    def tell(job: Training) -> None:
        nonlocal done
        done += 1
        watch(title, done, total)

    return tell


def _previous(path: Path) -> Json:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}
