"""A model that draws digits, and what is left of one of them when it is to draw that no more."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor, nn

from unweave.audit.work import cores
from unweave.contract import Contract, Forget, Keep
from unweave.demos.compare import Entry, Json, about, chosen, compared
from unweave.evaluation.metric import Score
from unweave.execution import one_thread
from unweave.extras import require
from unweave.modalities._base import Sheet
from unweave.modalities.diffusion.build import request
from unweave.modalities.diffusion.evaluation.grid import grid
from unweave.modalities.diffusion.evaluation.search import condition_search
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.modalities.diffusion.recipe import DiffusionData, DiffusionEvaluation, DiffusionForget, DiffusionRecipe
from unweave.modules import copied
from unweave.recipe.sections import OpenSection
from unweave.watch import Watch, silent

CLASS, ANOTHER = 3, 8  # what is to be forgotten, and what it is asked for as where it is only hidden
EPOCH = 21  # steps of a training that see as many images as there are
STEPS, BATCHES = 100, (64, 128)  # of every method, at most; rows of forget and retain set in a step
ADAM = {"name": "adam", "lr": 5e-4}  # the default of recipes of such models
ENTRIES = (
    Entry("relabel", "relabel_condition", {}, ADAM, "baseline"),
    Entry("SalUn", "salun", {}, ADAM, "baseline"),
    Entry("ESD", "esd", {}, ADAM, "baseline"),
    Entry("EUPMU", "eupmu", {}, ADAM, "headline"),
    Entry("HAMU-Q", "hamu_q", {}, ADAM, "headline"),
    Entry("UnilateralSurgery", "unilateral_surgery", {}, ADAM, "headline"),
)
COLUMNS = ("UA", "RA", "leak", "search")
"""What the distance is over; the table has the Fréchet distance, too, which is no share."""
ENOUGH, LOST, FURTHER = 0.85, 0.05, 2.0
"""What is said to do: this UA, RA within so much of the original's, at most so many times its Fréchet distance."""


def demo_drawn(
    methods: Sequence[str] = (),
    *,
    seed: int = 0,
    steps: int | None = None,
    training: Mapping[str, Any] | None = None,
    watch: Watch = silent,
    tell: Callable[[Json], None] = lambda request: None,
    images: int = 200,
    batches: tuple[int, int] = BATCHES,
) -> Json:
    """Trains, forgets, draws, compares; what `demo_drawn.json` holds.

    Args:
        methods: keys of `ENTRIES`; none means all.
        seed: of the models, the batches and the noise that images are drawn from.
        steps: of every method, at most, in the place of `STEPS`.
        training: overrides for the `Training` of both models.
        watch: told about every phase.
        tell: given the results.
        images: drawn of the class to forget, and half as many of each other.
        batches: rows of forget and retain set in a step.

    Raises:
        ConfigurationError: an unknown method.
        UnsupportedError: the extra `diffusion` is not installed.
    """
    begin = time.perf_counter()
    entries = list(chosen("method", methods, {entry.key: entry for entry in ENTRIES}).values())
    for module in ("diffusers", "PIL"):
        require(module, "diffusion")
    recipe = DiffusionRecipe(
        data=DiffusionData(source="digits_to_draw"),
        forget=DiffusionForget.model_validate({"class": CLASS}),
        training=OpenSection(**{"seed": seed, **(training or {})}),
        evaluation=DiffusionEvaluation(seed=seed, images=images),
    )
    job = request(recipe)
    with one_thread():
        models = _models(job, recipe, watch)
        reference, pictures = _sheet(job, models["retrained"]), dict[str, Tensor]()
        sheets = {"retrained": reference}

        def measure(name: str, model: nn.Module) -> Json:
            sheets[name] = sheets.get(name) or _sheet(job, model)
            pictures[name] = job.exam.drawn(model, _asked(job), 1)
            took = job.reference_seconds() if name == "retrained" else None
            return {**_columns(sheets[name], reference), "seconds": took}

        call = {
            **{"task": job.task, "forget": job.forget, "retain": job.retain, "seed": seed},
            "contract": Contract(keep=(Keep("recognised", absolute=0.1),), forget=(Forget("generated", at_most=0.15),)),
            **{"steps": steps or STEPS, "forget_batch": batches[0], "retain_batch": batches[1]},
        }
        rows = [row for row, _ in compared(models, measure, call, entries, watch)]
    found = {
        **about(begin, entries, rows),
        "name": "drawn",
        "title": f"Forget how class {CLASS} is drawn",
        "text": _text(job, models["original"]),
        "rows": rows,
        "traces": [],
        "said": list(_said(rows, sheets)),
        "grid": base64.b64encode(grid(pictures, [job.source.classes[each] for each in _asked(job)])).decode(),
    }
    tell(found)
    return found


def _models(job: DiffusionJob, recipe: DiffusionRecipe, watch: Watch) -> dict[str, nn.Module]:
    """The original and the retrained one, at once where two cores are free, and the original with its class hidden."""
    beside = None
    if cores() > 1 and job.reference_seconds() is None:
        beside = get_context("spawn").Process(target=_retrained, args=(recipe,), daemon=True)
        beside.start()
    try:
        original = job.opened(None, watch)
        if beside is not None:
            beside.join()
    finally:
        if beside is not None:
            beside.terminate()
    retrained = job.reference(1, watch)  # of the cache, where it was trained beside
    assert retrained is not None, "it is known how the original was trained"
    return {"original": original, "retrained": retrained, "only hidden": _hidden(original)}


def _retrained(recipe: DiffusionRecipe) -> None:
    """Trains the retrained model, which stays in the cache."""
    with one_thread():
        request(recipe).reference(1)


def _hidden(original: nn.Module) -> nn.Module:
    """A copy in which the class is asked for as another one; nothing else has moved."""
    model: Any = copied(original)
    with torch.no_grad():
        model.class_embedding.weight[CLASS] = model.class_embedding.weight[ANOTHER]
    return model


def _sheet(job: DiffusionJob, model: nn.Module) -> Sheet:
    """All scores of what a model draws, and what a search brings back."""
    return {**job.score(model).scores, "search": condition_search(model, job.exam)}


def _asked(job: DiffusionJob) -> tuple[int, ...]:
    """The classes, that to forget first."""
    return (*job.gone, *job.exam.kept)


def _columns(own: Sheet, reference: Sheet) -> Json:
    """Shares in percent, the distance in points, None where undefined; `scores` has it all."""
    values = {key: own[key].value for key in COLUMNS}
    pairs = [(values[key], reference[key].value) for key in COLUMNS]
    gaps = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    return {
        "distance": 100 * sum(gaps) / len(gaps) if len(gaps) == len(COLUMNS) else None,
        **{key: None if value is None else 100 * value for key, value in values.items()},
        "shown": None if values["UA"] is None else 100 * (1 - values["UA"]),
        "frechet": own["frechet"].value,
        "scores": {key: own[key].brief() for key in (*COLUMNS, "frechet")},
    }


def _text(job: DiffusionJob, model: nn.Module) -> str:
    judge, exam = job.judge.accuracy, job.exam
    return (
        f"A UNet of {sum(p.numel() for p in model.parameters()):,} weights, trained on the spot, draws digits of 8 x 8 "
        f"pixels by their class. It is to forget class {CLASS} ({len(job.forget)} training images) and to keep the "
        f"others ({len(job.retain)}). A judge, trained on the spot too, says what an image shows; it recognises "
        f"{100 * judge.value:.1f} % of {judge.n} real images that it was not trained on. Each model draws "
        f"{exam.images} images of the class to forget and {exam.kept_images} of each other, from the same noise."
    )


def _said(rows: Sequence[Json], sheets: Mapping[str, Sheet]) -> Iterator[str]:
    """What the numbers say, in words; also where they speak against a method."""
    null = sheets["original"]["frechet"].null
    if null is not None:
        yield (
            "Fréchet: distance on features of the judge, drawn against real images of the classes to keep; real ones "
            f"against real ones, as many, give {null.value:.2f} [{null.low:.2f}, {null.high:.2f}]."
        )
    faults = {row["name"]: _faults(sheets[row["name"]], sheets["original"]) for row in rows if "met" in row}
    good, bad = ([name for name, found in faults.items() if bool(found) is wrong] for wrong in (False, True))
    yield (
        f"{len(good)} of {len(faults)} methods no longer draw the class (UA at least {100 * ENOUGH:.0f} %), keep RA "
        f"within {100 * LOST:.0f} points of the original and at most {FURTHER:g} times its Fréchet distance"
        f"{': ' if good else ''}{', '.join(good)}."
    )
    if bad:
        yield f"Not so: {'; '.join(f'{name} ({faults[name]})' for name in bad)}."
    found = {name: sheets[name]["search"].value for name in ("original", "retrained", "only hidden")}
    if None not in found.values():
        said = {name: f"{100 * value:.0f} %" for name, value in found.items() if value is not None}
        yield (
            f"Hidden is not gone: where class {CLASS} is only asked for as {ANOTHER}, a condition that is searched for "
            f"it on some of its images, no weight moved, draws it in {said['only hidden']} of images (original "
            f"{said['original']}). In a model that never saw the class the same search finds it in "
            f"{said['retrained']}: that is what 'search' is to be read against."
        )


def _faults(own: Sheet, original: Sheet) -> str:
    """Of a method: what is not as it should be; an undefined score is not."""

    def value(sheet: Sheet, name: str, otherwise: float) -> float:
        found: Score = sheet[name]
        return otherwise if found.value is None else found.value

    ua, ra, distance = value(own, "UA", 0.0), value(own, "RA", 0.0), value(own, "frechet", float("inf"))
    lost = value(original, "RA", 1.0) - ra
    found = [
        f"UA {100 * ua:.1f} %" if ua < ENOUGH else "",
        f"RA {100 * lost:.1f} points lower" if lost > LOST else "",
        f"Fréchet {distance:.1f}" if distance > FURTHER * value(original, "frechet", 0.0) else "",
    ]
    return ", ".join(filter(None, found))
