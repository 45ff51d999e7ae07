"""Records of one's own: tables with people in them, data sets and networks that a function makes, and any task."""

from unweave.evaluation.gap import RTE
from unweave.evaluation.scores import SHEET
from unweave.evaluation.values import metrics
from unweave.modalities._base import Card, Front, Modality
from unweave.modalities.records.build import request, training_set
from unweave.modalities.records.proxies import proxy
from unweave.modalities.records.recipe import FACTORY, SOURCES, TABLES, RecordsForget, RecordsRecipe, left, task_of
from unweave.modalities.records.training import Training
from unweave.tasks import Dense, MultiLabel, Regression

RECORDS = Modality(
    name="records",
    sources=SOURCES,
    recipe=RecordsRecipe,
    forget=RecordsForget,
    task=task_of,
    training=Training,
    job=request,
    training_set=training_set,
    faults=lambda document: [],
    left=left,
    metrics={**SHEET, **metrics(Regression(1.0), MultiLabel(), Dense()), RTE.name: RTE},
    card=Card(
        "tabular-classification",
        {
            "TA": ("test", "accuracy", "Accuracy on unseen records"),
            "RA": ("retain", "accuracy", "Accuracy on retained records"),
            "test_accuracy": ("test", "accuracy", "Accuracy on unseen records"),
            "test_absolute_error": ("test", "mae", "Mean absolute error on unseen records"),
        },
    ),
    front=Front(
        (
            *("FA", "forget_absolute_error", "forget_accuracy", "forget_loss"),
            *("TA", "test_absolute_error", "test_accuracy", "test_loss"),
        ),
        ("forget_loss", "test_loss", "test_absolute_error", "MIA_AUC"),
    ),
    examples="records",
    retrained="evaluation.retrained: 1, and of a model.weights from elsewhere training:",
    places=("evidence",),
    numbered=(*TABLES, FACTORY),
    over_trainings=True,
    proxy=proxy,
)
