"""Images and their classes: sources, networks, their training, requests and scores."""

from unweave.evaluation.gap import GAP_METRICS, RTE
from unweave.evaluation.scores import SHEET
from unweave.modalities._base import Card, Front, Modality
from unweave.modalities.images.job import request, training_set
from unweave.modalities.images.proxies import proxy
from unweave.modalities.images.recipe import ImageForget, ImageRecipe, faults_of, left
from unweave.modalities.images.sources import SOURCES
from unweave.modalities.images.training import Training
from unweave.tasks import Classification

IMAGES = Modality(
    name="images",
    sources=tuple(SOURCES),
    recipe=ImageRecipe,
    forget=ImageForget,
    task=lambda document: Classification(),
    training=Training,
    job=request,
    training_set=training_set,
    faults=faults_of,
    left=left,
    metrics={**SHEET, RTE.name: RTE},
    card=Card(
        "image-classification",
        {
            "TA": ("test", "accuracy", "Accuracy on unseen examples"),
            "RA": ("retain", "accuracy", "Accuracy on retained training examples"),
        },
    ),
    front=Front(
        ("FA", "TA"),
        GAP_METRICS,
        {"FA": "accuracy on the forget set, %", "TA": "test accuracy against the original, points"},
    ),
    examples="images",
    classes=True,
    places=("evidence",),
    numbered=tuple(SOURCES),
    over_trainings=True,
    proxy=proxy,
)
