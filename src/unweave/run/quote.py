"""The quote of a recipe's request."""

from __future__ import annotations

from torch import nn

from unweave.diagnosis import Diagnosis, diagnose
from unweave.modalities._base import Job
from unweave.parameters import choose
from unweave.recipe.recipe import Recipe


def quote(recipe: Recipe, job: Job, model: nn.Module) -> Diagnosis:
    """How hard the request is and what it will cost, for the recipe's batches and steps; rows are the job's numbers.

    No weight of the model changes.
    """
    seconds, epochs = job.retraining()
    with choose(model, recipe.model.parameters):
        found = diagnose(
            model,
            job.forget,
            job.retain,
            job.task,
            examples=job.looked,
            steps=recipe.run.steps,
            epochs=epochs,
            retrain_seconds=seconds,
            forget_batch=recipe.run.forget_batch,
            retain_batch=recipe.run.retain_batch,
            micro=recipe.run.micro,
            seed=recipe.run.seed,
        )
    return found.numbered(job.rows("forget"), job.rows("retain"))
