"""U-LiRA's shadows: models trained and unlearned under coins, a third of them for each fate of every record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unweave.audit.attacks import OUT, UNLEARNED, thirds, u_lira
from unweave.audit.attacks.ulira import Layout, ULira
from unweave.audit.models import STRIDE, World, is_there, make
from unweave.audit.origin import among
from unweave.evaluation.outputs import predict
from unweave.modalities.images.job import ImageJob

SHADOWS = 500
"""Where the seeds of the shadows' trainings begin: between those of the originals."""


def shadow_request(request: ImageJob, fate: np.ndarray, seed: int) -> ImageJob:
    """The request of one shadow: trained on the retain set and the IN and UNLEARNED records, to forget the latter.

    Args:
        request: its forget set are the records.
        fate: `IN`, `OUT` or `UNLEARNED` of each record.
        seed: of the training.
    """
    records = np.asarray(request.split.forget)
    made = among(request, records[fate != OUT], records[fate == UNLEARNED])
    return replace(made, training=replace(request.training, seed=seed))


def shadow(world: World, number: int) -> dict[str, Any]:
    """One shadow: its margins of all records, plain data; the model comes from the cache if it was made before."""
    made = make(_world(world, number), "unlearned", 0)
    outputs = predict(made.model, world.request.task, world.request.forget, name="records")
    return {"margins": outputs.margin.tolist(), "seconds": made.about["seconds"]}


def shadow_is_there(world: World, number: int) -> Mapping[str, Any] | None:
    """What the cache notes of a shadow, or None if it has to be made."""
    return is_there(_world(world, number), "unlearned", 0)


def told(world: World, shadows: Sequence[Mapping[str, Any]]) -> ULira:
    """U-LiRA of all shadows, in their order."""
    return u_lira([each["margins"] for each in shadows], _layout(world), seed=world.recipe.evaluation.seed)


def _layout(world: World) -> Layout:
    return thirds(world.recipe.evidence.shadows, len(world.request.forget), seed=world.recipe.evaluation.seed)


def _world(world: World, number: int) -> World:
    run = world.recipe.run
    recipe = world.recipe.model_copy(update={"run": run.model_copy(update={"seed": run.seed + STRIDE + number})})
    seed = world.request.training.seed + SHADOWS + number
    return World(recipe, shadow_request(world.request, _layout(world)[number], seed))
