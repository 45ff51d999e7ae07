"""`unweave evaluate`: score any saved model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from unweave.commands.progress import watching
from unweave.commands.scores import table
from unweave.errors import ConfigurationError
from unweave.run import outcome, prepare
from unweave.run.recipe import read


def main(model: Path, recipe_file: Path | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Prints the scores of a model beside those of the retrained ones that the recipe asks for."""
    recipe_file = recipe_file or model / "recipe.yaml"
    if not recipe_file.is_file():
        raise ConfigurationError(
            f"{model}: expected a run directory, or weights together with --recipe; found no {recipe_file}"
        )
    recipe = read(recipe_file, overrides)
    request = prepare.request(recipe)
    folder = model / "model"
    models = {"unlearned": prepare.with_weights(request.network, folder if folder.is_dir() else model)}
    with watching() as watch:
        for number, name in enumerate(("retrained", "retrained again")[: recipe.evaluation.retrained], 1):
            models[name] = request.retrained(request.training.seed + number, watch)
    seed = recipe.evaluation.seed
    found = outcome.scores({name: outcome.sheet(m, request, seed) for name, m in models.items()})
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        Console(highlight=False).print(table(found))
