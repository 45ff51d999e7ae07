"""What makes a run this run: its recipe with every default, and fingerprints of what it read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unweave.errors import ConfigurationError
from unweave.methods import METHODS
from unweave.run import faults
from unweave.run.environment import environment, now
from unweave.run.prepare import Request
from unweave.run.recipe import NamedSection, OpenSection, Recipe
from unweave.run.steps import STEPS

FREE = ("output", "environment", "guards", "run.checkpoint_every", "data.path", "model.weights", "forget.indices")
"""Keys that may change: they decide no weight, or they are places, and what is there has a fingerprint."""


def resolve(recipe: Recipe, request: Request, folder: Path) -> Recipe:
    """The recipe with every default written out, also those of the functions that it names.

    `environment` gets versions, machine, and the SHA-256 of the training, the test and the forget set.
    """
    training = OpenSection(**asdict(request.training))
    method, step = (
        NamedSection(name=section.name, **(faults.defaults(table[section.name]) | section.arguments))
        for section, table in ((recipe.method, METHODS), (recipe.step, STEPS))
    )
    sets = {"train": request.train, "test": request.test, "forget": request.forget}
    prints = {name: data.fingerprint() for name, data in sets.items()}
    if request.held is not None:
        prints["held out"] = hashlib.sha256(b"".join(rows.tobytes() for rows in request.held)).hexdigest()
    about = environment() | {"created": now(), "data": prints}
    model = recipe.model.model_copy(update={"network": request.network.name})
    changes = {"training": training, "method": method, "step": step, "model": model}
    return recipe.model_copy(update={**changes, "output": folder.resolve(), "environment": about})


def identity(resolved: Recipe) -> dict[str, Any]:
    """All that decides what the run does, as `section.key: value`."""
    keys = _flat(resolved.model_dump(mode="json", by_alias=True))
    prints = resolved.environment.get("data", {})
    return {key: value for key, value in keys.items() if not key.startswith(FREE)} | {
        f"{name} set": f"sha256 {digest}" for name, digest in prints.items()
    }


def check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses to go on with another run.

    Raises:
        ConfigurationError: with every key that differs, as it was and as it is.
    """
    keys = [key for key in {**before, **now} if _text(before, key) != _text(now, key)]
    if keys:
        raise ConfigurationError(
            [f"{key} changed since the run began: {_text(before, key)} -> {_text(now, key)}" for key in keys]
            + ["the run cannot be resumed: put back what changed, or begin again with --overwrite or another --output"]
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not (isinstance(value, dict) and value):
        return {prefix: value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}.{key}".lstrip(".")).items()}


def _text(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "nothing"
    value = values[key]
    return value if isinstance(value, str) and value.startswith("sha256 ") else json.dumps(value, ensure_ascii=False)
