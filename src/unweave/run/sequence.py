"""Several requests in a row: each under the same contract with the first original, all earlier ones tested again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from unweave import devices, modalities
from unweave.contract import Contract, overall
from unweave.errors import ConfigurationError, gathered
from unweave.modalities import TrainingSet, training_set
from unweave.modalities._base import Job
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import ForgetSection
from unweave.run import directory, seal
from unweave.run.environment import now
from unweave.run.identity import resolve
from unweave.run.interrupt import REASON
from unweave.run.retest import Retest
from unweave.run.runner import Promise, carry_out, unheard
from unweave.run.session import contract_sets
from unweave.store import atomically, strict, write_json
from unweave.watch import Watch, silent

Json = dict[str, Any]
FILE = "sequence.json"


def run(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    watch: Watch = silent,
    promise: Promise = unheard,
) -> Json:
    """Unlearns the requests of a recipe in order; each leaves a run directory in `folder`.

    Every run starts from the model that the one before left. Keep clauses compare with the first original, on guard
    and final sets that no request touches: the budget is one for all. After each request the forget clauses of all
    earlier ones are read again, on all of their examples; if the recipe says so, those that a later one undid are
    unlearned once more.

    Args:
        recipe: with `requests`.
        folder: new or empty, unless the sequence is resumed or replaced.
        resume: do what is left: finished runs stay, the one that was interrupted goes on.
        overwrite: replace the sequence that `folder` holds.
        watch, promise: as for a single run.

    Returns:
        What `sequence.json` holds.

    Raises:
        ConfigurationError: a request that earlier ones leave nothing of, or whatever a single run refuses.
    """
    if recipe.contract is None:
        raise ConfigurationError("a sequence is kept together by its contract: leave 'contract: none' out")
    with directory.claimed(folder):
        directory.check_sequence(folder, resume, overwrite)
        return _in_order(recipe, recipe.contract.contract(), folder, resume, watch, promise)


def _in_order(recipe: Recipe, contract: Contract, folder: Path, resume: bool, watch: Watch, promise: Promise) -> Json:
    assert recipe.contract is not None
    folder = folder.resolve()  # each part's recipe names the model of the one before, wherever it is read from
    asks, device = recipe.contract.asks_retrained, devices.chosen(recipe.run.device)
    singles, data = parts(recipe), training_set(recipe)
    jobs = _jobs(recipe, singles, contract, data)

    def first() -> nn.Module:
        return modalities.original(singles[0], jobs[0], watch).to(device)

    if not resume:
        first()  # what is wrong with it is said before anything is cleared away
        directory.clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    resolved = resolve(recipe, jobs[0], folder)
    whole = finished(folder) if resume else None  # nothing of it is written again
    if whole is None:
        atomically(folder / "recipe.yaml", resolved.to_yaml().encode())
    tests: list[Retest] = []
    done: list[Json] = []
    left: Path | None = None  # the last model
    for number, (single, job) in enumerate(zip(singles, jobs, strict=True), 1):
        assert single.forget is not None and single.forget.id is not None
        name = single.forget.id
        place = folder / f"{number:02d}-{name}"
        begin, compared = (single, None) if left is None else (continued(single, left), first)
        kept = _carried(begin, job, place, compared, resume, watch, promise)
        if kept["status"] == REASON:
            break
        left = place / "model"
        model = _left(job, kept, left, watch).to(device)
        retrained = job.reference(1, watch) if asks else None
        tests.append(Retest(name, contract, job, retrained, recipe.run.seed))
        retests = [test.read(model) for test in tests]
        repaired: list[str] = []
        lost = [test for test, now_ in zip(tests, retests, strict=True) if test.regressed(now_)]
        if lost and recipe.sequence.repair:
            place = folder / f"{place.name}-repair"
            again = data.once_more(job, [test.job for test in lost])
            repair = _carried(continued(single, left), again, place, first, resume, watch, promise)
            if repair["status"] == REASON:
                break
            kept = _with_repair(kept, repair)
            left = place / "model"
            model = _left(job, repair, left, watch).to(device)
            retests = [test.read(model) for test in tests]
            repaired = [test.name for test in lost]
        done.append(_entry(name, job, place, kept, retests, tests, repaired))
        if whole is None:
            write_json(folder / FILE, _sealed(folder, summary(done, len(singles))))
    content = _sealed(folder, summary(done, len(singles)) | ({} if whole is None else {"created": whole["created"]}))
    if content != whole:
        write_json(folder / FILE, content)
    return content


def finished(folder: Path) -> Json | None:
    """What a sequence left that went to its end; None for one that has something left to do.

    Raises:
        ConfigurationError: it, or a run of it, was changed since it was written.
    """
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        done = content["status"] == "done"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not done:
        return None
    seal.check(folder / FILE, content)
    runs = [path.parent for path in sorted(folder.glob(f"*/{directory.SUMMARY}"))]
    gathered(*(partial(directory.finished, each) for each in runs))
    return dict(content)


def _sealed(folder: Path, content: Json) -> Json:
    runs = [folder / entry["directory"] / directory.SUMMARY for entry in content["requests"]]
    return seal.sealed(folder / FILE, strict(content), runs)


def parts(recipe: Recipe) -> list[Recipe]:
    """The recipe of each request alone, in which the rows of all earlier ones are gone; a number is an id."""
    taken = {each.id for each in recipe.requests}
    requests: list[ForgetSection] = []
    for number, each in enumerate(recipe.requests, 1):
        name = each.id or next(n for n in (str(number), f"request-{number}") if n not in taken)
        requests.append(each.model_copy(update={"id": name}))
    changes = {"requests": (), "output": None}
    return [
        recipe.model_copy(update={**changes, "forget": each, "already": (*recipe.already, *requests[:number])})
        for number, each in enumerate(requests)
    ]


def advice(lefts: Sequence[float], exhausted: bool) -> str:
    """When it is time to retrain, from what each request took of the budget.

    Args:
        lefts: share of the budget left after each request.
        exhausted: the last run ended because its budget was used up.
    """
    if not lefts:
        return "nothing was unlearned yet"
    mean = (1.0 - lefts[-1]) / len(lefts)
    if exhausted:
        return "time to retrain: the last request used the budget up"
    if mean <= 0:
        return f"no need to retrain: {100 * lefts[-1]:.0f} % of the budget is left, and requests took none of it"
    more = int(lefts[-1] / mean + 1e-9)
    if more < 1:
        return f"time to retrain: {100 * lefts[-1]:.0f} % of the budget is left, a request took {100 * mean:.0f} %"
    return f"about {more} more request{'s' if more > 1 else ''} like these fit into what is left of the budget"


def summary(done: Sequence[Json], total: int) -> Json:
    """`sequence.json`."""
    exhausted = bool(done) and done[-1]["reason"] == "budget used up"
    return {
        "status": "done" if len(done) == total else REASON,
        "created": now(),
        "requests": list(done),
        "regressions": [test["id"] for test in done[-1]["retests"] if test["regressed"]] if done else [],
        "advice": advice([entry["left"] for entry in done], exhausted),
    }


def continued(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe on the model that a run left in a folder."""
    model = modalities.of(recipe).left(recipe.model, folder)
    return recipe.model_copy(update={"model": model})


def _jobs(recipe: Recipe, singles: Sequence[Recipe], contract: Contract, data: TrainingSet[Any]) -> list[Any]:
    """All requests, with guard and final sets that none of them touches: out of what they all leave."""
    made = [data.job(single) for single in singles]
    _, sets = contract_sets(contract, made[-1], recipe.run.seed)
    return made if sets.rows is None else data.holding(made, sets.rows)


def _carried(
    recipe: Recipe,
    job: Job,
    place: Path,
    first: Callable[[], nn.Module] | None,
    resume: bool,
    watch: Watch,
    promise: Promise,
) -> Json:
    with directory.claimed(place):
        return carry_out(recipe, job, place, first=first, resume=resume, watch=watch, promise=promise)


def _left(job: Job, kept: Json, model: Path, watch: Watch) -> nn.Module:
    """What a run left, opened again; the next one goes on from it."""
    opened = job.opened(model, watch)
    directory.check_weights(
        opened, kept["model_after"], f"{model}: the model that this run left", model.parent / directory.SUMMARY
    )
    return opened


def _with_repair(kept: Json, repair: Json) -> Json:
    """A request's summary after earlier ones were repaired: utility and effort are those of both runs."""
    clauses = [c for c in repair["contract"] if c["side"] == "keep"]
    clauses += [c for c in kept["contract"] if c["side"] == "forget"]
    effort = {key: kept[key] + repair[key] for key in ("steps", "seconds")}
    return {**kept, **effort, "contract": clauses, "contract_reading": repair["contract_reading"]}


def _entry(
    name: str,
    job: Job,
    place: Path,
    kept: Mapping[str, Any],
    retests: Sequence[Json],
    tests: Sequence[Retest],
    repaired: Sequence[str],
) -> Json:
    pairs = zip(tests, retests, strict=True)
    return {
        "id": name,
        "text": job.text,
        "directory": place.name,
        "status": kept["status"],
        "reason": kept["stop_reason"],
        "forget": len(job.rows("forget")),
        "steps": kept["steps"],
        "seconds": kept["seconds"],
        "met": overall(kept["contract"]) == "met",
        "state": overall(kept["contract"]),
        "left": kept["contract_reading"]["left"],
        "guard": max((c["guard"]["n"] for c in kept["contract"] if c["side"] == "keep" and c["guard"]), default=0),
        "repaired": list(repaired),
        "retests": [{**found, "regressed": test.regressed(found)} for test, found in pairs],
    }
