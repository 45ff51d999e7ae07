"""Diffusion models: images and the conditions that ask for them, denoisers, requests, and scores of what they draw."""

import sys

from unweave.evaluation.gap import RTE
from unweave.modalities._base import Card, Front, Modality
from unweave.modalities.diffusion.build import request
from unweave.modalities.diffusion.evaluation.scores import METRICS
from unweave.modalities.diffusion.networks import unet
from unweave.modalities.diffusion.proxies import proxy
from unweave.modalities.diffusion.recipe import DiffusionForget, DiffusionRecipe, faults_of, left
from unweave.modalities.diffusion.records import training_set
from unweave.modalities.diffusion.sources import CONCEPTS, SOURCES
from unweave.modalities.diffusion.training import Training
from unweave.recipe.yaml_lines import Document
from unweave.tasks import Diffusion


def _task(document: Document) -> Diffusion:
    """As of a network that is trained here; how many classes it knows and how they are called, the data
    say, not the recipe."""
    how = Training()
    schedule = unet(10, (1, 8, 8), (16, 32), how).schedule
    return Diffusion(schedule, null=sys.maxsize, dropout=how.dropout, named=lambda name: 0)


DIFFUSION = Modality(
    name="diffusion",
    sources=tuple(SOURCES),
    recipe=DiffusionRecipe,
    forget=DiffusionForget,
    task=_task,
    training=Training,
    job=request,
    training_set=training_set,
    faults=faults_of,
    left=left,
    metrics={**METRICS, RTE.name: RTE},
    card=Card(
        "other",
        {
            "UA_drawn": (
                "forget",
                "unlearn_accuracy",
                "Share of images asked for as a forgotten class that are not of it",
            ),
            "RA_drawn": ("retain", "accuracy", "Share of images asked for as a kept class that are recognised"),
        },
    ),
    front=Front(
        ("UA_drawn", "search", "RA_drawn"),
        ("UA_drawn", "RA_drawn", "frechet", "search", "MIA_denoising", "average_gap"),
    ),
    examples="images",
    classes=True,
    numbered=tuple(name for name in SOURCES if name != CONCEPTS),
    over_trainings=True,
    proxy=proxy,
)
