"""A request like another one among the records that it keeps: what settings are tried on before the real one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unweave.contract.sets import halves
from unweave.errors import UnsupportedError
from unweave.modalities import by_row
from unweave.modalities._base import Rows
from unweave.modalities.records.job import RecordsJob
from unweave.modalities.records.recipe import RecordsRecipe


def proxy(recipe: RecordsRecipe, job: RecordsJob, guard: Rows, final: Rows, seed: int) -> RecordsJob:
    """See `Modality.proxy`. Whole people stand for whole people, and where there are classes each counts as it did.

    Raises:
        ConfigurationError: there are not enough such records.
        UnsupportedError: nobody knows how the original was trained.
    """
    if not job.retrains:
        raise UnsupportedError(
            "a proxy is compared with a model retrained without it, and nobody says how the original was trained: "
            "leave model.weights out, or search with --by contract."
        )
    rows = by_row.proxy(_groups(job), job.split, guard, final, seed)
    steers, measured = (None, None) if job.holdout is None else halves(job.holdout, recipe.run.seed)
    holdout = job.holdout if steers is None or job.holdout is None else job.holdout.subset(steers)
    shared = measured is not None and not len(job.source.holdout)  # the holdout is the test set
    return replace(
        job,
        text=f"{len(rows.split.forget)} kept records like those of: {job.text}",
        stated=job.task,
        split=rows.split,
        holdout=holdout,
        test=holdout if shared and holdout is not None else job.test,
        also=rows.also,
        held=(rows.guard, np.zeros(0, dtype=np.int64)),
    )


def _groups(job: RecordsJob) -> Rows | None:
    """Whose each record is, where the request takes whole people; else its class, where it has one."""
    people = job.source.people
    if people is not None and not np.isin(people[job.split.retain], people[job.split.forget]).any():
        return np.unique(people, return_inverse=True)[1]
    labels = job.train.labels
    return None if labels is None or labels.ndim > 1 else labels.numpy()
