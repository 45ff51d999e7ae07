"""Three requests on handwritten digits, every method, one scale: the distance to a retrained model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from unweave.contract import Contract, Forget, Keep, Outcome
from unweave.demos.compare import SCALE, Entry, Json, about, chosen, compared
from unweave.evaluation import GAP_METRICS, gaps
from unweave.execution import one_thread
from unweave.modalities._base import Sheet
from unweave.modalities.images import job as prepare
from unweave.modalities.images.recipe import ImageData, ImageForget, ImageRecipe
from unweave.recipe.sections import EvaluationSection, OpenSection
from unweave.results import Result
from unweave.run.steps_log import hardness
from unweave.watch import Watch, silent

# Every request, and what is enough: the accuracy on the forget set that unseen examples would have. That needs no
# retrained model: it is 0 for a class that is gone, a lucky guess for wrong labels, and the original's test accuracy
# (None) for examples like any other.
REQUESTS: dict[str, tuple[ImageForget, float | None]] = {
    "noise": (ImageForget(poison=0.1), 0.02),
    "class": (ImageForget.model_validate({"class": 3}), 0.0),
    "random": (ImageForget(random=0.1), None),
}
TOLERATED = Keep("accuracy", absolute=0.06)
"""Less leaves little room on 169 guard images: 3.0 points are the bound of a model that lost nothing."""
STEPS = 100
TRACED = "HAMU-Q"
"""Of whose steps hardness and losses are shown."""

# Headline methods as the one call runs them; baselines with the settings that docs/benchmarks.md chooses.
ENTRIES = (
    Entry("fine-tune", "finetune", step={"name": "adam", "lr": 3e-3}),
    Entry("GradDiff", "graddiff", step={"name": "adam", "lr": 3e-5}),
    Entry("SCRUB", "scrub", {"rounds": 10}, {"name": "adam", "lr": 3e-4}),
    Entry("HAMU-Q", "hamu_q"),
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
        steps: of every method, at most, in the place of `STEPS`.
        training: overrides for the training of all models.
        watch: told about every phase.
        tell: given each request's results as soon as they are there.

    Raises:
        ConfigurationError: an unknown request or method.
    """
    begin = time.perf_counter()
    picked = chosen("request", requests, REQUESTS)
    entries = list(chosen("method", methods, {entry.key: entry for entry in ENTRIES}).values())
    results = []
    with one_thread():
        for name, (forget, enough) in picked.items():
            recipe = ImageRecipe(
                data=ImageData(source="digits"),
                forget=forget.model_copy(update={"seed": seed}),
                training=OpenSection(**{"seed": seed, **(training or {})}),
                evaluation=EvaluationSection(seed=seed),
            )
            results.append(_request(name, recipe, enough, entries, steps or STEPS, watch))
            tell(results[-1])
    return {**about(begin, entries, [row for each in results for row in each["rows"]]), "requests": results}


def _request(
    name: str, recipe: ImageRecipe, enough: float | None, entries: Iterable[Entry], steps: int, watch: Watch
) -> Json:
    job, seed = prepare.request(recipe), recipe.evaluation.seed
    trained = job.original(watch), job.retrained(seed + 1, watch), job.retrained(seed + 2, watch)
    models = dict(zip(SCALE, trained, strict=True))
    reference = job.score(models["retrained"]).scores
    took = {name: job.retrain_seconds(seed + i) for i, name in enumerate(SCALE) if i}

    def measure(name: str, model: nn.Module) -> Json:
        scores = reference if name == "retrained" else job.score(model).scores
        return {**_columns(scores, reference), "seconds": took.get(name)}

    level = job.score(models["original"]).scores["TA"].value if enough is None else enough
    call = {
        **{"task": job.task, "forget": job.forget, "retain": job.retain, "steps": steps, "seed": seed},
        "repair": True,
        "contract": Contract(keep=(TOLERATED,), forget=(Forget("accuracy", at_most=level or 0.0),)),
    }
    found = compared(models["original"], models, measure, call, entries, watch, f"{name}: ")
    promised = [_promise(result.contract) for _, result in found if result and result.contract]
    return {
        "name": name,
        "title": f"Forget {job.text}",
        "text": f"{len(job.forget)} training images to forget, {len(job.retain)} to keep. {''.join(promised[-1:])}",
        "rows": [row for row, _ in found],
        "traces": [_trace(row["name"], result) for row, result in found if result and row["name"] == TRACED],
    }


def _promise(outcome: Outcome) -> str:
    """The contract of a request in words: the clauses with their limits, and how large the guard set is."""
    keep, forget = ([v for v in outcome.verdicts if v.side == side] for side in ("keep", "forget"))
    limits = ", ".join(
        f"accuracy falls by at most {100 * v.limit:.2g} points ({v.guard.n} guard images)" for v in keep if v.guard
    )
    enough = ", ".join(v.clause for v in forget)
    clauses = f"Keep: {limits}. Forget: {enough}, that of unseen images."
    return f"Every method runs under one contract, and repairs what forgetting cost. {clauses}"


def _columns(scores: Sheet, reference: Sheet) -> Json:
    """Shares in percent, the distance in points, None where undefined; `scores` has it all."""
    distance = gaps(scores, reference)["average_gap"]
    values = {key: scores[key].value for key in ("UA", "FA", "RA", "TA")}
    return {
        "distance": distance.value,
        **{key: None if value is None else 100 * value for key, value in values.items()},
        "MIA_AUC": scores["MIA_AUC"].value,
        "scores": {**{key: scores[key].brief() for key in GAP_METRICS}, "distance": distance.brief()},
    }


def _trace(name: str, result: Result) -> Json:
    """Hardness and losses over the steps; the forget loss is the negative log-likelihood, not its ascent."""
    hard = [hardness(record.step) for record in result.history]
    losses = [record.step.losses.tolist() for record in result.history]
    return {
        "method": name,
        "cosine": [each.cosine for each in hard],
        "kappa": [each.kappa for each in hard],
        "kappa_ratio": [each.ratio for each in hard],
        "forget": [forget for forget, _ in losses],
        "retain": [retain for _, retain in losses],
    }
