"""Images, texts, diffusion models, records: what is known of a kind of data stands in one folder, and is named here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from unweave.modalities import reading
from unweave.modalities._base import Job, Modality, TrainingSet
from unweave.modalities.diffusion import DIFFUSION
from unweave.modalities.images import IMAGES
from unweave.modalities.records import RECORDS
from unweave.modalities.texts import TEXTS
from unweave.recipe.recipe import Recipe
from unweave.recipe.yaml_lines import Document
from unweave.watch import Watch, silent

__all__ = [
    "MODALITIES",
    "Job",
    "Modality",
    "TrainingSet",
    "checked",
    "job",
    "of",
    "of_document",
    "of_source",
    "original",
    "read",
    "source_of",
    "training_set",
]

MODALITIES: dict[str, Modality] = {each.name: each for each in (IMAGES, TEXTS, DIFFUSION, RECORDS)}


def read(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, `section.key=value` overrides applied.

    Raises:
        ConfigurationError: all faults at once, each as `file:line: section.key: expected this, found that`.
    """
    return reading.read(MODALITIES, path, overrides)


def checked(document: Document, folder: Path) -> Recipe:
    """The recipe in a document, whose relative paths are relative to `folder`.

    Raises:
        ConfigurationError: as `read`.
    """
    return reading.checked(MODALITIES, document, folder)


def of_document(document: Document) -> Modality | None:
    """The modality of what a recipe says; None where its source is none of any."""
    return reading.of_document(MODALITIES, document)


def source_of(document: Document) -> object:
    """The data source that a recipe says (`reading.source_of`)."""
    return reading.source_of(MODALITIES, document)


def of_source(source: object) -> Modality | None:
    """The modality of a data source; None of a name that no source has."""
    return next((each for each in MODALITIES.values() if source in each.sources), None)


def of(recipe: Recipe) -> Modality:
    """The modality of a recipe."""
    return next(each for each in MODALITIES.values() if recipe.data.source in each.sources)


def job(recipe: Recipe) -> Job:
    """What a recipe's run works on.

    Raises:
        ConfigurationError: the data cannot be read, or the request does not fit them.
    """
    return of(recipe).job(recipe)


def training_set(recipe: Recipe) -> TrainingSet[Any]:
    """The training set that a recipe names.

    Raises:
        ConfigurationError: it cannot be read.
    """
    return of(recipe).training_set(recipe)


def original(recipe: Recipe, job: Job, watch: Watch = silent) -> nn.Module:
    """The model to unlearn: the recipe's weights, or one trained as the recipe says.

    Raises:
        ConfigurationError: the weights cannot be read, or do not fit.
    """
    return job.opened(recipe.model.weights, watch)
