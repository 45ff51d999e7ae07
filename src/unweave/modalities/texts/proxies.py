"""A request like another one among the texts that it keeps: what settings are tried on before the real one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unweave.errors import UnsupportedError
from unweave.modalities import by_row
from unweave.modalities._base import Rows
from unweave.modalities.texts import build
from unweave.modalities.texts.job import TextJob
from unweave.modalities.texts.recipe import TextRecipe
from unweave.modalities.texts.requests import Asked


def proxy(recipe: TextRecipe, job: TextJob, guard: Rows, final: Rows, seed: int) -> TextJob:
    """See `Modality.proxy`. Texts that share an id are of one person, who is drawn whole where the request names whole
    ones; models are asked what the texts themselves hold, not a benchmark's other tables.

    Raises:
        ConfigurationError: there are not enough such texts.
        UnsupportedError: nobody knows how the original learned its texts.
    """
    if not job.retrains:
        raise UnsupportedError(
            "a proxy is compared with a model retrained without it, and nobody says how the original was trained: give "
            "model.base and training, or search with --by contract."
        )
    repeats = np.flatnonzero([text.copy for text in job.train.texts])
    drawn = by_row.proxy(_people(job), job.split, guard, final, seed, repeats)
    forget, kept, held = (job.train.subset(rows) for rows in (drawn.split.forget, drawn.split.retain, drawn.guard))
    without = job.train.subset(np.sort(np.concatenate([drawn.split.retain, drawn.also])))
    unseen = job.measured if job.holdout is None else job.holdout  # those that measure the real request stay unread
    text = f"{len(forget)} kept texts like those of: {job.asked.text}"
    texts = [] if unseen is None else list(unseen.texts)
    asked = Asked(text, list(forget.texts), list(kept.texts), texts, job.asked.rows)
    evaluation = recipe.evaluation.model_copy(update={"reference": None})
    made = recipe.model_copy(update={"evaluation": evaluation, "model": job.recipe.model})  # a base may be made by now
    return replace(
        job,
        recipe=made,
        asked=asked,
        forget=forget,
        retain=kept,
        parts=build.own_parts(job.tokenizer, asked, evaluation, job.form, texts, build.context(made, job.tokenizer)),
        held=(held, kept.subset([])) if len(held) else None,
        learns=(job.train, without),
        _seconds={},
        _logs={},
    )


def _people(job: TextJob) -> Rows | None:
    """A number for whose each text of `train` is; None where no two texts of the request share an id."""
    ids = job.train.ids
    if len(set(job.forget.ids)) == len(job.forget):
        return None
    numbers = {name: number for number, name in enumerate(dict.fromkeys(ids))}
    return np.array([numbers[name] for name in ids])
