"""The quote of a recipe's request."""

from __future__ import annotations

from torch import nn

from unweave.diagnosis import Diagnosis, diagnose
from unweave.parameters import choose
from unweave.run.prepare import Request
from unweave.run.recipe import Recipe
from unweave.run.training import seconds_spent


def quote(recipe: Recipe, request: Request, model: nn.Module) -> Diagnosis:
    """How hard the request is and what it will cost, for the recipe's batches and steps; rows are the training set's.

    No weight of the model changes.
    """
    with choose(model, recipe.model.parameters):
        found = diagnose(
            model,
            request.forget,
            request.retain,
            request.task,
            steps=recipe.run.steps,
            epochs=request.training.epochs,
            retrain_seconds=_retraining(request),
            forget_batch=recipe.run.forget_batch,
            retain_batch=recipe.run.retain_batch,
            seed=recipe.run.seed,
        )
    return found.numbered(request.split.forget.tolist(), request.split.retain.tolist())


def _retraining(request: Request) -> float | None:
    """Seconds of a training that was done: of a retrained model, or of the original by the share of examples."""
    for seed in range(request.training.seed, request.training.seed + 3):
        if (known := request.retrain_seconds(seed)) is not None:
            return known
    known = seconds_spent(request.network, request.train, request.training)
    return None if known is None else known * len(request.retain) / len(request.train)
