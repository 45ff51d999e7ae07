"""A third modality, tables of numbers, that the library has never heard of: one entry, and everything works on it."""

from tests.toy.tables import METRICS, Records, Regression, Training
from unweave.modalities._base import Card, Front, Modality
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import ForgetSection

TABLES = Modality(
    name="tables",
    sources=("table",),
    recipe=Recipe,
    forget=ForgetSection,
    task=lambda document: Regression(),
    training=Training,
    job=lambda recipe: Records.of(recipe).job(recipe),
    training_set=Records.of,
    faults=lambda document: [],
    left=lambda model, folder: model.model_copy(update={"weights": folder}),
    metrics=METRICS,
    card=Card("tabular-regression", {"test_error": ("test", "mse", "Mean squared error on unseen rows")}),
    front=Front(("forget_error", "test_error"), ("forget_error", "test_error")),
    numbered=("table",),
)
