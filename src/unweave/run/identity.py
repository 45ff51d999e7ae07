"""What makes a run this run: its recipe with every default, and fingerprints of what it read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unweave import modalities
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.methods import usual
from unweave.modalities._base import Job
from unweave.oneshot import CATALOGUE
from unweave.recipe import faults
from unweave.recipe.auto import AUTO
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import NamedSection
from unweave.recipe.steps import STEPS
from unweave.run.environment import environment, now

FREE = (
    *("output", "environment", "guards", "run.checkpoint_every", "run.callbacks"),
    *("run.device", "run.memory", "run.place"),
    *("data.path", "model.weights", "forget.indices"),
)
"""Keys that may change: they decide no weight, or they are places, and what is there has a fingerprint.

A modality has more of them (`Modality.places`)."""


def resolve(recipe: Recipe, job: Job, folder: Path) -> Recipe:
    """The recipe with every default written out, also those of the functions that it names.

    `environment` gets versions, machine, and the SHA-256 of all data.

    Raises:
        UnsupportedError: the method is still to be chosen.
    """
    if recipe.method.name == AUTO:
        raise UnsupportedError(
            "method: auto is for `unweave run` of one request, which races methods first: name the one that won (its "
            "recipe.yaml says which)."
        )
    method, step = (
        NamedSection(name=section.name, **(faults.defaults(table[section.name]) | own | section.arguments))
        for section, table, own in (
            (recipe.method, CATALOGUE, usual(recipe.method.name, job.task)),
            (recipe.step, STEPS, {}),
        )
    )
    about = environment() | {"created": now(), "data": job.prints()}
    changes = {**job.resolved(recipe), "method": method, "step": step}
    return recipe.model_copy(update={**changes, "output": folder.resolve(), "environment": about})


def identity(resolved: Recipe) -> dict[str, Any]:
    """All that decides what the run does, as `section.key: value`."""
    keys, prints = _flat(resolved.plain()), resolved.environment.get("data")
    prints = prints if isinstance(prints, Mapping) else {}  # of a recipe, or of a run's that was edited
    free = (*FREE, *modalities.of(resolved).places)
    return {key: value for key, value in keys.items() if not key.startswith(free)} | {
        f"{name} set": f"sha256 {digest}" for name, digest in prints.items()
    }


def check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses to go on with another run.

    Raises:
        ConfigurationError: with every key that differs, as it was and as it is.
    """
    if changed := differing(before, now):
        raise ConfigurationError(
            [f"{key} changed since the run began: {how}" for key, how in changed.items()],
            advice="the run cannot be resumed: put back what changed, or begin again with --overwrite or another "
            "--output",
        )


def check_trained_on(written: Recipe, job: Job) -> None:
    """Refuses to score the model of a run on another training set: what is drawn and measured by it would differ.

    Args:
        written: as a run wrote it, or a recipe that nobody has run.
        job: of it, on what is there now.

    Raises:
        ConfigurationError: it is not the one that the run read.
    """
    prints = written.environment.get("data")
    before = prints.get("train") if isinstance(prints, Mapping) else None
    if before is not None and before != (now := job.prints().get("train")):
        raise ConfigurationError(
            f"data: this is another training set than that of the run: sha256 {before} -> {now}: put back what "
            "changed. A recipe without `environment.data` scores on any (--recipe)"
        )


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """The keys whose values are not the same, each as it was and as it is."""
    texts = {key: (_text(before, key), _text(now, key)) for key in {**before, **now}}
    return {key: " -> ".join(both) for key, both in texts.items() if both[0] != both[1]}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not (isinstance(value, dict) and value):
        return {prefix: value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}.{key}".lstrip(".")).items()}


def _text(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "nothing"
    value = values[key]
    return value if isinstance(value, str) and value.startswith("sha256 ") else json.dumps(value, ensure_ascii=False)
