"""Three requests on handwritten digits, every method, one scale: the distance to a retrained model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from unweave.contract import Outcome
from unweave.demos.shared import chosen
from unweave.evaluation import GAP_METRICS, gaps
from unweave.execution import one_thread
from unweave.loop import Record, Result
from unweave.modalities._base import Sheet
from unweave.modalities.images import job as prepare
from unweave.modalities.images.job import ImageJob, sheet
from unweave.modalities.images.recipe import ImageData, ImageForget, ImageRecipe
from unweave.recipe.contract import ContractSection, ForgetEntry, KeepEntry
from unweave.recipe.sections import NamedSection, OpenSection, RunSection
from unweave.run.environment import environment, now
from unweave.run.session import Session
from unweave.run.steps_log import hardness
from unweave.watch import Watch, silent

Json = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One method: a name for people, its name in the catalogue, and settings other than the defaults."""

    name: str
    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    step: Mapping[str, Any] = field(default_factory=lambda: {"name": "trust"})
    steps: int = 100
    traced: bool = False


@dataclass(frozen=True)
class Case:
    """One request, and what is enough: the accuracy on the forget set that unseen examples would have.

    That needs no retrained model: it is 0 for a class that is gone, a lucky guess for wrong labels, and the original's
    test accuracy (`enough` None) for examples like any other.
    """

    forget: ImageForget
    enough: float | None


REQUESTS = {
    "noise": Case(ImageForget(poison=0.1), 0.02),
    "class": Case(ImageForget.model_validate({"class": 3}), 0.0),
    "random": Case(ImageForget(random=0.1), None),
}
TOLERATED = KeepEntry(metric="accuracy", absolute=0.06)
"""Less leaves little room on 169 guard images: 3.0 points are the bound of a model that lost nothing."""

# Headline methods as the one call runs them; baselines with the settings that docs/benchmarks.md chooses.
ENTRIES = (
    Entry("fine-tune", "finetune", step={"name": "adam", "lr": 3e-3}),
    Entry("GradDiff", "graddiff", step={"name": "adam", "lr": 3e-5}),
    Entry("SCRUB", "scrub", {"rounds": 10}, {"name": "adam", "lr": 3e-4}),
    Entry("HAMU-Q", "hamu_q", traced=True),
    Entry("HAMU-U", "hamu_u"),
    Entry("EUPMU", "eupmu"),
    Entry("UnilateralSurgery", "unilateral_surgery"),
    Entry("OFMU", "ofmu"),
)


def demo(
    requests: Sequence[str] = (),
    methods: Sequence[str] = (),
    *,
    seed: int = 0,
    steps: int | None = None,
    training: Mapping[str, Any] | None = None,
    watch: Watch = silent,
    tell: Callable[[Json], None] = lambda request: None,
) -> Json:
    """Runs the methods on the requests; what `demo.json` holds.

    Args:
        requests: of `REQUESTS`; none means all.
        methods: catalogue names of `ENTRIES`; none means all.
        seed: of the requests, the models and the batches.
        steps: fewer or more for every method than its entry says.
        training: overrides for the training of all models.
        watch: told about every phase.
        tell: given each request's results as soon as they are there.

    Raises:
        ConfigurationError: an unknown request or method.
    """
    begin = time.perf_counter()
    picked = chosen("request", requests, list(REQUESTS))
    names = chosen("method", methods, [entry.method for entry in ENTRIES])
    entries = [entry for entry in ENTRIES if entry.method in names]
    results = []
    with one_thread():
        for name in picked:
            recipe = _recipe(name, seed, training or {})
            results.append(_request(name, recipe, entries, steps, watch))
            tell(results[-1])
    return {
        "created": now(),
        "seconds": time.perf_counter() - begin,
        "reading_share": _share(results),
        "environment": environment(),
        "requests": results,
    }


def _recipe(name: str, seed: int, training: Mapping[str, Any]) -> ImageRecipe:
    forget = REQUESTS[name].forget.model_copy(update={"seed": seed})
    return ImageRecipe(
        data=ImageData(source="digits"),
        forget=forget,
        training=OpenSection(**{"seed": seed, **training}),
        run=RunSection(seed=seed),
    )


def _request(name: str, recipe: ImageRecipe, entries: Sequence[Entry], steps: int | None, watch: Watch) -> Json:
    """One request: the two ends of the scale, then every method."""
    request, seed = prepare.request(recipe), recipe.run.seed
    original = request.original(watch)
    start = sheet(original, request, seed)
    enough = start["TA"].value if REQUESTS[name].enough is None else REQUESTS[name].enough
    contract = ContractSection(keep=(TOLERATED,), forget=(_level(enough or 0.0),))
    recipe = recipe.model_copy(update={"contract": contract})
    first, second = seed + 1, seed + 2
    reference = sheet(request.retrained(first, watch), request, seed)
    again = sheet(request.retrained(second, watch), request, seed)
    took = [request.retrain_seconds(each) for each in (first, second)]
    rows = [
        _row("original", "end", start, reference, ended="nothing done"),
        _row("retrained", "reference", reference, reference, seconds=took[0], ended="the reference"),
        _row("retrained again", "end", again, reference, seconds=took[1], ended="another seed"),
    ]
    traces: list[Json] = []
    promised: Outcome | None = None
    for entry in entries:
        watch(f"{name}: {entry.name}", 0, 1)
        result = _unlearn(recipe, request, original, entry, steps)
        found = sheet(result.model, request, seed)
        row = _row(entry.name, "method", found, reference, result.steps, result.seconds, result.reason)
        rows.append(row | _kept(result))
        promised = result.contract or promised
        traces += [_trace(entry.name, result)] if entry.traced else []
        watch(f"{name}: {entry.name}", 1, 1)
    return {
        "name": name,
        "title": f"Forget {request.text}",
        "text": f"{len(request.forget)} training images to forget, {len(request.retain)} to keep. "
        + _promise(promised),
        "rows": rows,
        "traces": traces,
    }


def _unlearn(recipe: ImageRecipe, request: ImageJob, original: nn.Module, entry: Entry, steps: int | None) -> Result:
    changes = {
        "method": NamedSection(name=entry.method, **entry.arguments),
        "step": NamedSection(**entry.step),
    }
    session = Session.start(recipe.model_copy(update=changes), request, original)
    with session.parts.ready():
        return session.parts.run(steps or entry.steps, repair=session.repair)


def _level(accuracy: float) -> ForgetEntry:
    return ForgetEntry(metric="accuracy", at_most=accuracy)


def _promise(outcome: Outcome | None) -> str:
    """The contract of a request in words: the clauses with their limits, and how large the guard set is."""
    if outcome is None:
        return ""
    keep, forget = ([v for v in outcome.verdicts if v.side == side] for side in ("keep", "forget"))
    limits = ", ".join(
        f"accuracy falls by at most {100 * v.limit:.2g} points ({v.guard.n} guard images)" for v in keep if v.guard
    )
    enough = ", ".join(v.clause for v in forget)
    return f"Every method runs under one contract. Keep: {limits}. Forget: {enough}, that of unseen images."


def _kept(result: Result) -> Json:
    """What came of the contract; None where there was none."""
    if (found := result.contract) is None:
        return {"met": None, "state": None, "kept": None, "reading": None, "rollbacks": None}
    told = {"met": found.met, "state": found.state, "kept": found.kept}
    return {**told, "reading": found.seconds, "rollbacks": found.rollbacks}


def _share(requests: Sequence[Json]) -> float:
    """Of the time of all runs, the share that reading their contracts took."""
    rows = [row for request in requests for row in request["rows"] if row["kind"] == "method"]
    spent = sum(row["seconds"] for row in rows)
    return sum(row["reading"] for row in rows) / spent if spent else 0.0


def _row(
    name: str,
    kind: str,
    scores: Sheet,
    reference: Sheet,
    steps: int | None = None,
    seconds: float | None = None,
    ended: str = "",
) -> Json:
    """One line of the table: shares in percent, the distance in points, None where undefined; `scores` has it all."""
    values = {key: scores[key].value for key in ("UA", "FA", "RA", "TA")}
    found = {key: scores[key] for key in GAP_METRICS}
    distance = gaps(scores, reference)["average_gap"]
    return {
        "name": name,
        "kind": kind,
        "distance": distance.value,
        **{key: None if value is None else 100 * value for key, value in values.items()},
        "MIA_AUC": scores["MIA_AUC"].value,
        "scores": {key: score.as_dict() for key, score in {**found, "distance": distance}.items()},
        "steps": steps,
        "seconds": seconds,
        "ended": ended,
    }


def _trace(name: str, result: Result) -> Json:
    """Hardness and losses over the steps; the forget loss is the negative log-likelihood, not its ascent."""
    history: Sequence[Record] = result.history
    hard = [hardness(record.step) for record in history]
    losses = [record.step.losses.tolist() for record in history]
    return {
        "method": name,
        "cosine": [each.cosine for each in hard],
        "kappa": [each.kappa for each in hard],
        "kappa_ratio": [each.ratio for each in hard],
        "forget": [forget for forget, _ in losses],
        "retain": [retain for _, retain in losses],
    }
