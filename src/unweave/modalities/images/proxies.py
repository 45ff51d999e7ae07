"""A request like another one among the images that it keeps: what settings are tried on before the real one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from unweave.contract.sets import halves
from unweave.errors import UnsupportedError
from unweave.modalities import by_row
from unweave.modalities._base import Rows
from unweave.modalities.images.job import ImageJob, mislabelled
from unweave.modalities.images.recipe import ImageRecipe
from unweave.modalities.images.tensors import TensorImages


def proxy(recipe: ImageRecipe, job: ImageJob, guard: Rows, final: Rows, seed: int) -> ImageJob:
    """See `Modality.proxy`. Where wrong labels are to be forgotten, as many are planted, and the original learns them.

    Raises:
        ConfigurationError: there are not enough such images.
        UnsupportedError: wrong labels would have to be planted into weights that are given.
    """
    assert recipe.forget is not None, "one request"
    planted = recipe.forget.poison is not None
    if planted and recipe.model.weights is not None:
        raise UnsupportedError(
            "a proxy of planted labels needs an original that has learned them, and model.weights is given: search "
            "with --by contract, or let the recipe train the original."
        )
    rows = by_row.proxy(None if planted else job.train.labels.numpy(), job.split, guard, final, seed)
    train, test, classes = job.train, _spared(job, planted, recipe.run.seed), job.network.classes
    if planted:
        labels, shift = train.labels.clone(), np.random.default_rng([seed, 1])
        wrong = torch.from_numpy(shift.integers(1, classes, len(rows.split.forget)))
        labels[rows.split.forget] = (labels[rows.split.forget] + wrong) % classes
        train, holdout = train.relabelled(labels), mislabelled(test, classes, seed)
    else:
        holdout = by_row.exchangeable(test, train.labels[rows.split.forget])
    return replace(
        job,
        text=f"{len(rows.split.forget)} retained images like those of: {job.text}",
        train=train,
        test=test,
        split=rows.split,
        holdout=holdout,
        also=rows.also,
        held=(rows.guard, np.zeros(0, dtype=np.int64)),
    )


def _spared(job: ImageJob, planted: bool, seed: int) -> TensorImages:
    """The test images without those that measure the end of the real request."""
    measured = halves(job.holdout, seed)[1]
    if measured is None:
        return job.test
    rows = torch.arange(len(job.test)) if planted else by_row.exchangeable_rows(job.test, job.forget.labels)
    return job.test.subset(np.setdiff1d(np.arange(len(job.test)), rows[measured].numpy()))
