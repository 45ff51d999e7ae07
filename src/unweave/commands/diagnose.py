"""`unweave diagnose`: how hard is this request?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from unweave.commands.progress import say, watching
from unweave.guards import check
from unweave.run import prepare, sequence
from unweave.run.quote import quote
from unweave.run.recipe import read


def main(path: Path, overrides: Sequence[str], *, as_json: bool) -> None:
    """Prints the quote of a recipe's request, or of each of several; no weight changes, only the cache is written."""
    recipe = read(path, overrides)
    parts = sequence.parts(recipe) if recipe.requests else [recipe]
    requests = [prepare.request(single) for single in parts]
    with watching() as watch:
        model = prepare.original(parts[0], requests[0], watch)
    quotes = []
    for single, request in zip(parts, requests, strict=True):
        found, guards = quote(single, request, model), recipe.guards.guards()
        quotes.append(found.as_dict())
        for text in check(model, request.task, request.forget, request.retain, guards=guards, seed=recipe.run.seed):
            say(f"warning: {text}", style="yellow")
        if not as_json:
            head = f"request         {request.text}: {len(request.forget)} to forget, {len(request.retain)} to keep"
            print("\n".join(["", head, *found.lines()] if len(quotes) > 1 else [head, *found.lines()]))
    if as_json:
        print(json.dumps(quotes if recipe.requests else quotes[0], indent=2))
