"""A model that draws digits, and what is left of one of them when it is to draw that no more."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from unweave.audit.work import cores, processes
from unweave.demos.compare import Entry, Json, about, chosen, compared
from unweave.evaluation.metric import Null
from unweave.execution import one_thread
from unweave.extras import require
from unweave.modalities._base import Sheet
from unweave.modalities.diffusion.build import request
from unweave.modalities.diffusion.evaluation.grid import grid
from unweave.modalities.diffusion.evaluation.scores import score
from unweave.modalities.diffusion.evaluation.search import Attack, condition_search
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.modalities.diffusion.recipe import DiffusionData, DiffusionEvaluation, DiffusionForget, DiffusionRecipe
from unweave.modules import copied
from unweave.recipe.sections import OpenSection
from unweave.watch import Watch, silent

CLASS, ANOTHER = 3, 8  # what is to be forgotten, and what it is asked for as where it is only hidden
EPOCH = 21  # steps of a training that see as many images as there are
STEPS, BATCHES = 100, (64, 128)  # of every method; rows of forget and retain set in a step
SHOWN = 4  # images of the class to forget in the grid
ADAM = {"name": "adam", "lr": 5e-4}  # the default of recipes of such models
ENTRIES = (
    Entry("fine-tune", "finetune", {}, ADAM, "baseline"),
    Entry("GradDiff", "graddiff", {}, ADAM, "baseline"),
    Entry("UCE", "uce", kind="baseline"),
    Entry("EraseDiff", "erase_diff", {}, ADAM, "baseline"),
    Entry("relabel", "relabel_condition", {}, ADAM, "baseline"),
    Entry("SalUn", "salun", {}, ADAM, "baseline"),
    Entry("ESD", "esd", {}, ADAM, "baseline"),
    Entry("EUPMU", "eupmu", {}, ADAM, "headline"),
    Entry("HAMU-Q", "hamu_q", {}, ADAM, "headline"),
    Entry("UnilateralSurgery", "unilateral_surgery", {}, ADAM, "headline"),
)
OTHERS = (
    Entry("HAMU-U", "hamu_u", {}, ADAM, "headline"),
    Entry("OFMU", "ofmu", {}, ADAM, "headline"),
)
"""Not among those that the demo runs unasked: it is to take two minutes."""
COLUMNS = ("UA_drawn", "RA_drawn", "leak", "search")
"""What the distance is over; the table has the Fréchet distance, too, which is no share."""
ENOUGH, LOST, FURTHER = 0.85, 5, 2
"""What is said to do: this UA, RA within so many points of the original's, so many times its Fréchet distance."""
_WAITING = "waiting for the other process"


def demo_drawn(
    methods: Sequence[str] = (),
    *,
    seed: int = 0,
    order: int | None = None,
    repair: bool = False,
    steps: int | None = None,
    training: Mapping[str, Any] | None = None,
    watch: Watch = silent,
    tell: Callable[[Json], None] = lambda request: None,
    images: int = 200,
    sampling_steps: int = 20,
    batches: tuple[int, int] = BATCHES,
    attack: Attack | None = None,
) -> Json:
    """Trains, forgets, draws, compares; what `demo_drawn.json` holds.

    Args:
        methods: keys of `ENTRIES` and `OTHERS`; none means the former.
        seed: of the models, the batches and the noise that images are drawn from.
        order: the seed of the batches alone; None: the same.
        repair: whether the last of the steps repair (`repair.Repair`).
        steps: of every method, at most, in the place of `STEPS`.
        training: overrides for the `Training` of both models.
        watch: told about every phase.
        tell: given the results.
        images: drawn of the class to forget, and half as many of each other.
        sampling_steps: passes that an image takes.
        batches: rows of forget and retain set in a step.
        attack: what the condition search has; None: the default.

    Raises:
        ConfigurationError: an unknown method.
        UnsupportedError: the extra `diffusion` is not installed.
    """
    begin = time.perf_counter()
    known = {entry.key: entry for entry in (*ENTRIES, *OTHERS)}
    entries = list(chosen("method", methods or [entry.key for entry in ENTRIES], known).values())
    for module in ("diffusers", "PIL"):
        require(module, "diffusion")
    recipe = digits(seed, images=images, training=training, sampling_steps=sampling_steps)
    drawn = {"forget_batch": batches[0], "retain_batch": batches[1], "seed": seed if order is None else order}
    how = {"steps": steps or STEPS, "repair": repair, **drawn}
    with one_thread(), processes(1) if cores() > 1 else nullcontext() as beside:
        job = request(recipe)
        training_it = beside and beside.submit(_trained, recipe)
        original = job.opened(None, watch)
        if training_it:
            watch(_WAITING, 0, 1)
            training_it.result()
        models = {"original": original, "retrained": _retrained(job, watch), "only hidden": _hidden(original)}
        reference = _sheet(job, models["retrained"], attack)
        own, others = (entries[::2], entries[1::2]) if beside else (entries, [])
        at_once = beside and beside.submit(_lines, recipe, reference, how, attack, others)
        lines = _lines(job, reference, how, attack, own, models, watch)
        if at_once:
            watch(_WAITING, 0, 1)
            lines |= at_once.result()
    lines = {name: lines[name] for name in (*models, *(entry.name for entry in entries))}
    rows = [row for row, _ in lines.values()]
    found = {
        **about(begin, entries, rows),
        "name": "drawn",
        "title": f"Forget how class {CLASS} is drawn",
        "text": _text(job, models["original"]),
        "rows": rows,
        "traces": [],
        "said": list(_said(rows, reference["frechet"].null)),
        "grid": _grid(job, {name: pictures for name, (_, pictures) in lines.items()}),
    }
    tell(found)
    return found


def digits(
    seed: int = 0,
    *,
    noise: int | None = None,
    images: int = 200,
    training: Mapping[str, Any] | None = None,
    sampling_steps: int = 20,
) -> DiffusionRecipe:
    """What is asked for: digits of a seed, and how they are drawn.

    Args:
        seed: of the models.
        noise: the seed of what images are drawn from; None: the same.
        images: of the class to forget.
        training: overrides for the `Training` of both models.
        sampling_steps: passes that an image takes.
    """
    drawn = seed if noise is None else noise
    return DiffusionRecipe(
        data=DiffusionData(source="digits_to_draw"),
        forget=DiffusionForget.model_validate({"class": CLASS}),
        training=OpenSection(**{"seed": seed, **(training or {})}),
        evaluation=DiffusionEvaluation(
            seed=drawn, images=images, sampling_steps=sampling_steps, looks=1, attacks=None
        ),  # no loss is shown, and `_sheet` searches
    )


def _retrained(job: DiffusionJob, watch: Watch = silent) -> nn.Module:
    model = job.reference(1, watch)
    assert model is not None, "it is known how the original was trained"
    return model


def _trained(recipe: DiffusionRecipe) -> None:
    """Trains the retrained model in another process; it stays in the cache."""
    _retrained(request(recipe))


def _lines(
    of: DiffusionJob | DiffusionRecipe,
    reference: Sheet,
    how: Mapping[str, Any],
    attack: Attack | None,
    entries: Sequence[Entry],
    ends: Mapping[str, nn.Module] | None = None,
    watch: Watch = silent,
) -> dict[str, tuple[Json, Tensor]]:
    """Of each model its line of the table, and images of each class; all that is trained lies in the cache.

    Args:
        of: the job, or the recipe of one.
        reference: the scores of the retrained model.
        how: arguments of `unlearn`.
        attack: what the condition search has.
        entries: the methods.
        ends: models that stand above them.
        watch: told about every method.
    """
    job = of if isinstance(of, DiffusionJob) else request(of)
    pictures = dict[str, Tensor]()

    def measure(name: str, model: nn.Module) -> Json:
        pictures[name] = torch.cat([job.exam.drawn(model, job.gone, SHOWN), job.exam.drawn(model, job.exam.kept, 1)])
        took = job.reference_seconds() if name == "retrained" else None
        scores = reference if name == "retrained" else _sheet(job, model, attack)
        return {**_columns(scores, reference), "seconds": took}

    call = {"task": job.task, "forget": job.forget, "retain": job.retain, **how}
    rows = [row for row, _ in compared(job.opened(None), ends or {}, measure, call, entries, watch)]
    return {row["name"]: (row, pictures[row["name"]]) for row in rows}


def _hidden(original: nn.Module) -> nn.Module:
    """A copy in which the class is asked for as another one; nothing else has moved."""
    model: Any = copied(original)
    with torch.no_grad():
        model.class_embedding.weight[CLASS] = model.class_embedding.weight[ANOTHER]
    return model


def _sheet(job: DiffusionJob, model: nn.Module, attack: Attack | None) -> Sheet:
    """All scores of what a model draws, and what a search brings back."""
    return {**score(model, job.exam).scores, "search": condition_search(model, job.exam, attack)}


def _asked(job: DiffusionJob) -> tuple[int, ...]:
    """The classes, that to forget first."""
    return (*job.gone, *job.exam.kept)


def _shown(job: DiffusionJob, asked: int) -> int:
    """How many images of a class are in the grid."""
    return SHOWN if asked in job.gone else 1


def _grid(job: DiffusionJob, pictures: Mapping[str, Tensor]) -> str:
    """A row for each model, a column for each class, more for that to forget: a PNG in base64."""
    columns = [job.source.classes[each] for each in _asked(job) for _ in range(_shown(job, each))]
    return base64.b64encode(grid(pictures, columns)).decode()


def _columns(own: Sheet, reference: Sheet) -> Json:
    """Shares in percent, the distance in points, None where undefined; `scores` has it all."""
    values = {key: own[key].value for key in COLUMNS}
    pairs = [(values[key], reference[key].value) for key in COLUMNS]
    gaps = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    return {
        "distance": 100 * sum(gaps) / len(gaps) if len(gaps) == len(COLUMNS) else None,
        **{key: None if value is None else 100 * value for key, value in values.items()},
        "shown": None if values["UA_drawn"] is None else 100 * (1 - values["UA_drawn"]),
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
        f"{exam.images} images of the class to forget and {exam.kept_images} of each other, from the same noise. Each "
        "method takes the same steps of the same length, without a contract."
    )


def _said(rows: Sequence[Json], null: Null | None) -> Iterator[str]:
    """What the numbers say, in words; also where they speak against a method."""
    if null is not None:
        yield (
            "Fréchet: distance on features of the judge, drawn against real images of the classes to keep; real ones "
            f"against real ones, as many, give {null.value:.2f} [{null.low:.2f}, {null.high:.2f}]."
        )
    named = {row["name"]: row for row in rows}
    ends = named["original"], named["retrained"]
    faults = {row["name"]: _faults(row, *ends) for row in rows if row["steps"] is not None}
    good = [name for name, found in faults.items() if not found]
    yield (
        f"{len(good)} of {len(faults)} methods no longer draw the class (UA at least {100 * ENOUGH:.0f} %), nor "
        "for a condition that is searched for it (rather as the retrained model than as the original), keep RA within "
        f" {LOST:.0f} points of the original and at most {FURTHER:g} times its Fréchet distance"
        f"{': ' if good else ''}{', '.join(good)}."
    )
    if bad := [f"{name} ({found})" for name, found in faults.items() if found]:
        yield f"Not so: {'; '.join(bad)}."
    found = {name: "?" if row["search"] is None else f"{row['search']:.0f}" for name, row in named.items()}
    yield (
        f"Hidden is not gone: where class {CLASS} is only asked for as {ANOTHER}, a condition that is searched for it "
        f"on some of its images, no weight moved, draws it in {found['only hidden']} % of images (original "
        f"{found['original']} %). In a model that never saw the class the same search finds it in "
        f"{found['retrained']} %: that is what 'search' is to be read against."
    )


def _faults(row: Json, original: Json, retrained: Json) -> str:
    """Of a method: what is not as it should be; an undefined score is not."""
    undefined = [f"{key} undefined" for key in ("UA_drawn", "RA_drawn", "frechet") if row[key] is None]
    if undefined or None in (original["RA_drawn"], original["frechet"]):
        return ", ".join(undefined) or "the original's scores are undefined"
    searched = row["search"], original["search"], retrained["search"]
    found = [
        f"UA {row['UA_drawn']:.1f} %" if row["UA_drawn"] < 100 * ENOUGH else "",
        f"search {row['search']:.0f} %" if None not in searched and 2 * searched[0] > sum(searched[1:]) else "",
        f"RA {original['RA_drawn'] - row['RA_drawn']:.1f} points lower"
        if row["RA_drawn"] < original["RA_drawn"] - LOST
        else "",
        f"Fréchet {row['frechet']:.1f}" if row["frechet"] > FURTHER * original["frechet"] else "",
    ]
    return ", ".join(filter(None, found))
