"""A recipe of images: the keys that texts do not have, and the wrong labels that a request plants."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from unweave.errors import ConfigurationError
from unweave.modalities.images import networks
from unweave.modalities.images.sources import SOURCES
from unweave.parameters import choose
from unweave.recipe.evidence import EvidenceSection
from unweave.recipe.open_sections import heard
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import (
    ClassName,
    Count,
    DataSection,
    ForgetSection,
    Fraction,
    ModelSection,
    Share,
    check_places,
    existing,
    is_name,
)
from unweave.recipe.yaml_lines import Document


class ImageData(DataSection):
    """Where the training and the test images come from.

    `config` and `size` are of an `image_dataset`: which of several, and the height and width that all pictures get.
    """

    config: str | None = None
    size: Count | None = None

    @model_validator(mode="after")
    def _path_where_needed(self) -> Self:
        known = SOURCES.get(self.source)  # of another name `modalities.read` says that it is unknown
        if known is not None and known.built_in and self.path is not None:
            raise ValueError(f"{self.source} is built in and takes no path")
        if known is not None and not known.built_in and self.path is None:
            raise ValueError(f"{self.source} needs a 'path'")
        if known is not None and not known.hub and (self.config is not None or self.size is not None):
            raise ValueError(f"{self.source} takes no config and no size")
        if self.path is not None and not (known is not None and known.hub and is_name(self.path)):
            existing(self.path)
        return self


class ImageForget(ForgetSection):
    """What is to be forgotten: exactly one of class, indices, random, poison.

    `mix`, with `class`, is HAMU's hardness mix rho: that share of the set is drawn at random instead.
    `poison` gives that share of the training set wrong labels, which the original is trained on.
    `indices` is a file with row numbers.
    """

    ONE_OF: ClassVar[tuple[str, ...]] = ("class", "indices", "random", "poison")
    class_: ClassName | tuple[ClassName, ...] | None = Field(default=None, alias="class")
    poison: Fraction | None = None
    mix: Share = 0.0

    @model_validator(mode="after")
    def _mixed(self) -> Self:
        if self.mix and self.class_ is None:
            raise ValueError("'mix' is a share of a class request: it needs 'class'")
        return self


class ImageModel(ModelSection):
    """The network, its weights, and which of them may move.

    Without a network the data source's own is taken; without weights it is trained, and cached.
    """

    network: str | None = None


class ImageRecipe(Recipe):
    """One run on images: data, request, model, method, step length, contract, evaluation, evidence."""

    data: ImageData
    forget: ImageForget | None = None
    requests: tuple[ImageForget, ...] = ()
    already: tuple[ImageForget, ...] = ()
    model: ImageModel = ImageModel()
    evidence: EvidenceSection = EvidenceSection()

    @model_validator(mode="after")
    def _poison_alone(self) -> Self:
        if any(each.poison is not None for each in (*self.requests, *self.already)):
            raise ValueError("requests: 'poison' plants wrong labels for one request alone; name rows with 'indices'")
        return self

    def check_models(self) -> None:
        """Refuse weights that are not there (`sections.check_places`)."""
        how = "give the .safetensors file or the folder of a run that holds it"
        check_places({"model.weights": self.model.weights}, how)


def faults_of(document: Document) -> list[str]:
    """The network of images by its name, and what may move of it by theirs; it is built without memory."""
    data, written = (document.content.get(section) for section in ("data", "model"))
    source = data.get("source") if isinstance(data, dict) else None
    if not isinstance(written, dict) or not isinstance(source, str) or source not in SOURCES:
        return []
    name, patterns = written.get("network") or SOURCES[source].network, written.get("parameters")
    if not isinstance(name, str) or not isinstance(patterns, str | list | None):
        return []
    if name in networks.NETWORKS and not patterns:
        return []
    built: list[nn.Module] = []

    def build() -> None:
        with torch.device("meta" if name in networks.NETWORKS else "cpu"), torch.random.fork_rng(devices=[]):
            built.append(networks.build(name, classes=2, channels=3))

    def move() -> None:
        with choose(built[0], patterns):
            pass

    found = heard(build, written, document, "model")
    return found or (heard(move, {}, document, "model.parameters") if built else [])


def left(model: ImageModel, folder: Path) -> ImageModel:
    """The same network with the weights that a run left."""
    return model.model_copy(update={"weights": folder})


Labels = np.ndarray | Tensor


def poison_random(labels: Labels, share: float, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Give a share of the rows a label drawn uniformly from the wrong ones.

    Args:
        labels: [n], in [0, classes).
        share: of the rows, above 0 and below 1.
        classes: number of classes, at least two.
        seed: of the draws.

    Returns:
        The new labels [n] and the poisoned rows, sorted.

    Raises:
        ConfigurationError: the share is out of range, or there is no wrong label to give.
    """
    if not 0 < share < 1 or classes < 2:
        raise ConfigurationError(
            f"poisoning needs a share above 0 and below 1 and at least two classes, found {share} and {classes}"
        )
    poisoned = np.asarray(labels).copy()
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.choice(len(poisoned), max(1, round(share * len(poisoned))), replace=False))
    poisoned[rows] = (poisoned[rows] + generator.integers(1, classes, len(rows))) % classes
    return poisoned, rows


def poison_swap(
    labels: Labels, first: int, second: int, share: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Interclass confusion: swap the labels of a share of the rows of two classes.

    Args:
        labels: [n].
        first: one class.
        second: the other.
        share: of the rows of either class, above 0 and at most 1.
        seed: of the draws.

    Returns:
        The new labels [n] and the poisoned rows, sorted.

    Raises:
        ConfigurationError: the share is out of range, or a class is not there.

    Goel et al., "Towards Adversarial Evaluations for Inexact Machine Unlearning" (arXiv 2201.06640).
    """
    if not 0 < share <= 1 or first == second:
        raise ConfigurationError(
            f"swapping needs a share above 0, at most 1, and two classes, found {share}, {first} and {second}"
        )
    labels = np.asarray(labels)
    poisoned = labels.copy()
    generator = np.random.default_rng(seed)
    rows = []
    for own, other in ((first, second), (second, first)):
        members = np.flatnonzero(labels == own)
        if not len(members):
            raise ConfigurationError(f"class {own} is not in the training set: no labels to swap")
        chosen = generator.choice(members, round(share * len(members)), replace=False)
        poisoned[chosen] = other
        rows.append(chosen)
    return poisoned, np.sort(np.concatenate(rows))
