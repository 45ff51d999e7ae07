"""`unweave diagnose`: how hard is this request?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from unweave.commands.progress import watching
from unweave.diagnosis import diagnose
from unweave.parameters import choose
from unweave.run import prepare
from unweave.run.recipe import read


def main(path: Path, overrides: Sequence[str], *, as_json: bool) -> None:
    """Prints the quote of a recipe's request; no weight changes and nothing is written but the cache."""
    recipe = read(path, overrides)
    request = prepare.request(recipe)
    with watching() as watch:
        model = prepare.original(recipe, request, watch)
    with choose(model, recipe.model.parameters):
        found = diagnose(
            model,
            request.forget,
            request.retain,
            request.task,
            forget_batch=recipe.run.forget_batch,
            retain_batch=recipe.run.retain_batch,
            seed=recipe.run.seed,
        )
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        head = f"request        {request.text}: {len(request.forget)} to forget, {len(request.retain)} to keep"
        print("\n".join([head, *found.lines()]))
