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
from unweave.run.training import seconds_spent


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
            steps=recipe.run.steps,
            epochs=request.training.epochs,
            retrain_seconds=_retraining(request),
            forget_batch=recipe.run.forget_batch,
            retain_batch=recipe.run.retain_batch,
            seed=recipe.run.seed,
        ).numbered(request.split.forget.tolist(), request.split.retain.tolist())
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        head = f"request         {request.text}: {len(request.forget)} to forget, {len(request.retain)} to keep"
        print("\n".join([head, *found.lines()]))


def _retraining(request: prepare.Request) -> float | None:
    """Seconds of a training that was done: of a retrained model, or of the original by the share of examples."""
    for seed in range(request.training.seed, request.training.seed + 3):
        if (known := request.retrain_seconds(seed)) is not None:
            return known
    known = seconds_spent(request.network, request.train, request.training)
    return None if known is None else known * len(request.retain) / len(request.train)
