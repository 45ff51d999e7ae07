"""`unweave evidence`: from a recipe to `evidence.json`, part by part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from unweave import devices, modalities, ranks
from unweave.audit.attacks import u_lira
from unweave.audit.attacks.ulira import ULira
from unweave.audit.claims import claim
from unweave.audit.estimate import Estimate, estimate
from unweave.audit.evidence_parts.attacks import attacks_part, check_references
from unweave.audit.evidence_parts.over_runs import examples_part, gaps_part, over_runs_part, sheets_of
from unweave.audit.experiment import KINDS, Experiment
from unweave.audit.findings import claim_part, findings
from unweave.audit.finished_run import check_recipe, finished_run, trained_anew
from unweave.audit.kits import kit_of
from unweave.audit.models import follow, make
from unweave.audit.seen import Pools, Seen, Told
from unweave.audit.shared import shared
from unweave.audit.work import Piece, Work, crew, pieces
from unweave.data.protocol import Examples
from unweave.errors import ConfigurationError
from unweave.evaluation.ranking import FEWEST
from unweave.execution import one_thread
from unweave.recipe.recipe import Recipe
from unweave.run.directory import check_evidence
from unweave.run.environment import environment, now
from unweave.run.identity import identity, resolve
from unweave.run.session import check_readable
from unweave.store import kept_json, write_json
from unweave.tasks import Known
from unweave.watch import Watch, silent

FILE = "evidence.json"
PARTS = ("gaps", "per_example", "attacks", "over_runs", "robustness", "cost", "claim")
Json = dict[str, Any]


def evidence(
    recipe: Recipe,
    folder: Path,
    *,
    run: Path | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    references: Sequence[Path] = (),
    few: bool = False,
    watch: Watch = silent,
    promise: Callable[[Estimate], None] | None = None,
) -> Json:
    """Trains and unlearns what is missing, scores and attacks all models, and writes `evidence.json` into `folder`.

    Everything is kept in the user's cache by the fingerprint of what decides it: called again, after Ctrl-C or a kill,
    it does what is left. More than one worker needs a script that may be imported (`if __name__ == "__main__":`).

    Models are unlearned, asked and attacked on the recipe's `run.device`. Where a launcher started several processes of
    the command, they share the steps of every unlearning, and the first one does all else.

    Args:
        recipe: what to do; `recipe.evidence` says with how many models.
        folder: of a run of this recipe, or a new one.
        run: directory of a finished run of this recipe, whose own model is judged: unlearned model number 0 is the one
            that it left, and its original the one that it started from. None: all models are made from the recipe.
        workers: processes, one thread each; with an executor how many it has, for the estimate.
        executor: trains, unlearns and attacks elsewhere, such as `distributed.Client.get_executor(retries=3)` or any
            other `concurrent.futures.Executor`, whose workers share the cache (`UNWEAVE_CACHE`). None: processes here.
        references: weights of models that never saw the forget set, two at least, in the place of retraining.
        few: go on with fewer than 20 examples in the forget set or in the holdout; the notes say what that costs.
        watch: told about every phase.
        promise: told what it will cost, before it begins.

    Returns:
        What `evidence.json` holds; of several processes all but the first have nothing of it.

    Raises:
        ConfigurationError: the recipe does not fit its data, `folder` holds a run of another one, the test set holds
            training images, a reference saw the forget set, `run` is not finished or not as it was, or forget set or
            holdout have fewer than 20 examples (before anything is trained), or the executor's workers see another
            cache or run another version, or `run.device` is not there.
        UnsupportedError: nobody knows how to compare several trainings of such models, or several processes run that
            are not the command's, or are to have workers.
    """
    kind, processes = kit_of(recipe), ranks.world()
    devices.chosen(recipe.run.device)
    if processes > 1:
        recipe = shared(recipe, workers=workers > 1 or executor is not None)
    with ranks.alone():
        own = None if run is None else finished_run(run)
    request: Any = modalities.job(recipe)
    if len(references) == 1:
        raise ConfigurationError("references: a spread needs two models that never saw the forget set, found 1")
    resolved = resolve(recipe, request, folder)
    check_readable(resolved, request)
    same = identity(resolved)
    if ranks.first(lambda: check_evidence(folder)):
        check_recipe(folder, same)
    if own is not None:
        check_recipe(own.folder, same)
        ranks.first(lambda: own.check(request))
        recipe = recipe if references else trained_anew(recipe)
    world = Experiment(recipe, request, tuple(references), own)
    seed = recipe.evaluation.seed
    kind.check(world)
    if world.count("shadow") and recipe.model.weights is not None:
        raise ConfigurationError("evidence.shadows: shadows are trained anew, 'model.weights' names a trained model")
    if not few and min(world.sizes.values()) < FEWEST:
        raise ConfigurationError(
            f"evidence: expected at least {FEWEST} examples in the forget set and in the holdout, found "
            f"{' and '.join(map(str, world.sizes.values()))}. Give more examples, or go on with --few: attacks on the "
            "population are left undefined then, and the other intervals say little."
        )
    ranks.met()  # all have looked at the folder
    if not ranks.lead():
        with one_thread():
            follow(world)
        return {}
    begin, before = time.perf_counter(), kept_json(folder / FILE) or {}
    content = _head(world, before)
    spent = (before.get("seconds") or 0.0) if before.get("status") == "running" else 0.0

    def save(status: str = "running", **parts: Json) -> None:
        content.update(parts, status=status, seconds=spent + time.perf_counter() - begin)
        content["pending"] = [name for name in PARTS if content[name] is None]
        write_json(folder / FILE, content)

    def worked(hands: Work, title: str, what: str, *kinds: str) -> dict[Piece, Json]:
        todo = pieces(world, what, *kinds)
        return hands(todo, _telling(watch, title, len(todo)))

    def retain(seen: Seen) -> Told:
        return kind.retain(world, seen)

    save()
    with ranks.leading(), crew(world, workers, executor) as hands:
        # Every model, and what it says of every example.
        if promise is not None:
            promise(replace(estimate(world, workers), processes=processes))
        made = worked(hands, "training originals and references", "model", "original", "retrained")
        made |= worked(hands, "unlearning", "model", "unlearned")
        content["runs"]["models"] = list(made.values())
        pools = Pools(*([kind.see(world, make(world, of, i)) for i in range(world.count(of))] for of in KINDS))
        save(cost=_cost(list(made.values()), pools, workers))
        shadows: ULira | None = None
        if world.count("shadow"):
            told = worked(hands, "shadows for U-LiRA", "model", "shadow")
            shadows = u_lira([each["margins"] for each in told.values()], world.layout, seed=seed)
        # What the outputs say: gaps, examples, attacks, two populations of models.
        content["notes"] += _notes(world, [each for each in made.values() if each["kind"] == "unlearned"])
        save(gaps=gaps_part(sheets_of(pools, seed), world.margins, seed, kind.metrics(world), kind.tow(world)))
        forget, kept = (np.asarray(request.rows(side)) for side in ("forget", "retain"))
        named: Json = {"values": kind.values} if kind.values else {}
        per_example = {
            "forget": examples_part(pools, lambda seen: seen.forget, forget.tolist(), seed),
            "retain": examples_part(pools, retain, kept[world.retain_rows.numpy()].tolist(), seed),
        }
        save(per_example={**per_example, **named})
        attacks = attacks_part(pools, kind.features(world, seed), seed, kind.asks(world))
        if references:
            check_references(pools.retrained, world.references, attacks["blind"]["exchangeable"])
        if attacks["blind"]["exchangeable"] is False:
            content["notes"].append(attacks["blind"]["text"])
        save(attacks=attacks)
        save(over_runs=over_runs_part(pools, retain, shadows, seed))
        # What comes back under attack; then the claim that all of it supports.
        attacked = worked(hands, "attacks that bring back", "attack", *KINDS)
        by_kind = {name: [each for (_, of, _), each in attacked.items() if of == name] for name in KINDS}
        save(robustness=kind.robustness(world, by_kind))
    finite = all(each.finite for each in pools.unlearned)
    found = findings(content, finite)
    originals, retrained, unlearned = map(world.count, KINDS)
    strongest = claim(found, originals=originals, unlearned=unlearned, retrained=retrained)
    save("complete", claim=claim_part(strongest, found))
    return content


def _head(world: Experiment, before: Json) -> Json:
    """All that is known before the first training."""
    recipe, request = world.recipe, world.request
    margins = world.margins
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
            "holdout": world.sizes["holdout"],
            "classes": kit_of(recipe).classes(request),
            "whole_classes": sorted(_classes(request.forget) - _classes(request.retain)),
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


def _classes(data: Examples) -> set[int]:
    """The classes that are in it; none where there are no classes."""
    return set() if data.labels is None else set(data.labels.tolist())


def _notes(world: Experiment, unlearned: Sequence[Json]) -> Iterator[str]:
    """What these models and sets do not allow."""
    for made in unlearned:
        if not made["changed"]:
            yield f"Seed {made['seed']}: the unlearned model is the original ({made['ended']})."
    if world.own is not None and world.own.weights is not None and world.count("original") > 1:
        yield (
            "The first unlearned model is that of the run, which started from the weights of a file. The other "
            "originals were trained from seeds of their own on forget and retain set, and keep clauses compare with "
            "them."
        )
    if world.count("original") == 1:
        yield "All unlearned models come from one original: what is found is about that one, not about the method."
    contract = world.recipe.contract
    if contract is not None:
        whole = bool(forgotten := _classes(world.request.forget)) and not forgotten & _classes(world.request.retain)
        if "unseen" in {
            clause.metric for clause in contract.contract().forgets(whole, Known(world.request.task).utility)
        }:
            yield (
                "The contract steered every run by a membership attack that compares with examples of this holdout: "
                "the loss attack's AUC is better than it would be on others. The comparison over runs is not concerned."
            )
    for name, n in world.sizes.items():
        if n < FEWEST:
            yield (
                f"The {name} has {n} examples, fewer than {FEWEST}: attacks on the population are left undefined, and "
                "intervals over so few examples say little. Read the test of each example over runs."
            )


def _cost(made: Sequence[Json], pools: Pools, workers: int) -> Json:
    known = {kind: [m["seconds"] for m in made if m["kind"] == kind and m["seconds"]] for kind in KINDS}
    means = {kind: fmean(seconds) if seconds else None for kind, seconds in known.items()}
    share = means["unlearned"] / means["retrained"] if means["unlearned"] and means["retrained"] else None
    peaks = [m["peak_memory_bytes"] for m in made if m.get("peak_memory_bytes")]
    examples = sum(len(s.forget) + len(s.retain) + len(s.test) for kind in KINDS for s in pools.of(kind))
    return {
        "seconds": means,
        "total": sum(map(sum, known.values())),
        "share": share,
        "peak_memory_bytes": max(peaks, default=None),
        "workers": workers,
        "forwards": examples,
    }


def _telling(watch: Watch, title: str, total: int) -> Callable[[Piece], None]:
    done = 0
    watch(title, 0, total)

    def tell(piece: Piece) -> None:
        nonlocal done
        done += 1
        watch(title, done, total)

    return tell
