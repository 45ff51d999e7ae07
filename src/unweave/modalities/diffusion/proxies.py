"""A request like another one among the images that it keeps: what settings are tried on before the real one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unweave.contract.sets import halves
from unweave.modalities import by_row
from unweave.modalities._base import Rows
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.modalities.diffusion.recipe import DiffusionRecipe
from unweave.modalities.diffusion.sources import Pictures
from unweave.modalities.diffusion.view import gone


def proxy(recipe: DiffusionRecipe, job: DiffusionJob, guard: Rows, final: Rows, seed: int) -> DiffusionJob:
    """See `Modality.proxy`. Another class stands for a class; what the request forgets is neither asked for nor kept.

    Raises:
        ConfigurationError: there are not enough such images.
    """
    rows = by_row.proxy(job.train.labels.numpy(), job.split, guard, final, seed)
    made = replace(
        job,
        text=f"{len(rows.split.forget)} kept images like those of: {job.text}",
        pictures=_spared(job, recipe.run.seed),
        split=rows.split,
        gone=gone(job.train.labels, rows.split),
        also=rows.also,
        held=(rows.guard, np.zeros(0, dtype=np.int64)),
    )
    if "judge" in vars(job):
        vars(made)["judge"] = job.judge
    return made


def _spared(job: DiffusionJob, seed: int) -> Pictures:
    """The pictures without the test images that measure the end of the real request."""
    measured = halves(job.holdout, seed)[1]
    if measured is None:
        return job.pictures
    rows = by_row.exchangeable_rows(job.source.test, job.forget.labels)[measured]
    left = np.setdiff1d(np.arange(len(job.source.test)), rows.numpy())
    return Pictures.of(replace(job.source, test=job.source.test.subset(left)), captions=job.pictures.captions)
