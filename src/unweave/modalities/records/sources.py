"""Records from what a recipe names: a table, or the data sets that a function makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from unweave.errors import ConfigurationError, shown, suggest, told
from unweave.modalities.records import tables
from unweave.modalities.records.cells import NOBODY
from unweave.modalities.records.data import whole
from unweave.modalities.records.factories import call
from unweave.modalities.records.recipe import RecordsData, RecordsRecipe
from unweave.modalities.records.tables import Source, divided, unknown
from unweave.modalities.records.training import from_elsewhere, trained_on

PARTS = ("train", "holdout", "test", "people")


def load(recipe: RecordsRecipe) -> Source:
    """The records of a recipe.

    Raises:
        ConfigurationError: they cannot be read, or are not what the recipe says.
    """
    recipe.check_models()
    trained_here = not from_elsewhere(recipe.model.weights)
    if recipe.data.table:
        source = tables.load(recipe.data, recipe.task.name, trained_here)
    else:
        source = _made(recipe.data, trained_here)
    drawn = source.holdout.data is source.records.data
    if drawn and trained_on(recipe.model.weights) not in (None, source.records.subset(source.seen).fingerprint()):
        raise ConfigurationError(
            f"data: {recipe.model.weights} is a model of another training set: rows that were added, changed or taken "
            "out give other means, spreads and values, and another holdout, some of which it was trained on. Keep the "
            "data as they were, and name in `already` what earlier runs forgot"
        )
    return source


def _made(data: RecordsData, trained_here: bool) -> Source:
    """What the factory gives: a data set; a tuple of training set, holdout and test set; or a mapping of `PARTS`."""
    found = call(data, "data")
    parts: dict[str, Any]
    if isinstance(found, Mapping):
        if strange := [str(name) for name in found if name not in PARTS]:
            raise ConfigurationError(
                f"data.factory: a mapping has {', '.join(PARTS)}; found {strange[0]!r}.{suggest(strange[0], PARTS)}"
            )
        parts = dict(found)
    elif isinstance(found, tuple) and not isinstance(found, Dataset):
        parts = dict(zip(PARTS[:3], found, strict=False))
    else:
        parts = {"train": found}
    if parts.get("train") is None or (isinstance(found, tuple) and len(found) > 3):
        raise ConfigurationError(
            "data.factory: expected a data set, a tuple (train, holdout, test) or a mapping of these; found "
            f"{shown(found)}"
        )
    own = {name: whole(parts[name], f"data.factory: {name}") for name in PARTS[:3] if parts.get(name) is not None}
    count, people = len(own["train"]), _people(parts.get("people"), len(own["train"]))
    if data.by == "person" and people is None:
        raise ConfigurationError("data.by: 'person' needs people: let the factory return a mapping with 'people'")
    if {"holdout", "test"} & own.keys():
        if given := [name for name in ("holdout", "test", "by") if getattr(data, name) is not None]:
            raise ConfigurationError(f"data.{given[0]}: the factory gives a holdout or a test set itself: leave it out")
        holdout, test = (own.get(name) for name in ("holdout", "test"))
        empty = own["train"].subset([])
        sides = holdout or empty, test or holdout or empty
        return Source(own["train"], np.arange(count), *sides, people=people)
    unknown(trained_here, "let the factory return a holdout beside the training set: (train, holdout)")
    rows = divided(count, people, data, 0.2)
    train = own["train"]
    unseen = train.subset(rows["holdout"]), train.subset(rows["test"] if len(rows["test"]) else rows["holdout"])
    return Source(train, rows["train"], *unseen, people=people)


def _people(given: Any, count: int) -> np.ndarray | None:
    if given is None:
        return None
    try:
        ids = list(given.tolist() if hasattr(given, "tolist") else given)
    except TypeError:
        raise ConfigurationError(
            f"data.factory: people: expected an id for each example, found {given!r:.60}"
        ) from None
    if strange := [each for each in ids if isinstance(each, list | tuple | dict | Tensor | np.ndarray)]:
        raise ConfigurationError(f"data.factory: people: expected one id for each example, found {shown(strange[0])}")
    with told("data.factory: people cannot be read"):
        nobody = [row for row, each in enumerate(ids) if each is None or each != each or str(each).strip() in NOBODY]
    if nobody:
        raise ConfigurationError(
            f"data.factory: people must say whose each example is; {len(nobody)} say nothing (first: example "
            f"{nobody[0]}, {shown(ids[nobody[0]])})"
        )
    found = [str(int(each)) if isinstance(each, float) and each.is_integer() else str(each) for each in ids]
    if len(found) != count:
        raise ConfigurationError(
            f"data.factory: people: expected an id for each of {count} training examples, found {len(found)}"
        )
    return np.asarray(found)
