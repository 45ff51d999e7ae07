"""`unweave diagnose`: how hard is this request?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from unweave import devices, modalities
from unweave.commands.progress import say
from unweave.guards import check
from unweave.modalities import read
from unweave.run import sequence
from unweave.run.examples import quote
from unweave.watch import watching


def main(path: Path, overrides: Sequence[str], *, as_json: bool) -> None:
    """Prints the quote of a recipe's request, or of each of several; no weight changes, only the cache is written."""
    recipe = read(path, overrides)
    parts = sequence.parts(recipe) if recipe.requests else [recipe]
    device, jobs = devices.chosen(recipe.run.device), [modalities.job(single) for single in parts]
    for needed in filter(None, (job.memory() for job in jobs)):
        say(needed)
    with watching() as watch:
        model = modalities.original(parts[0], jobs[0], watch).to(device)
    quotes = []
    for single, job in zip(parts, jobs, strict=True):
        guards = recipe.guards.guards()
        for text in (*job.notes, *check(model, job.task, job.forget, job.retain, guards=guards, seed=recipe.run.seed)):
            say(f"warning: {text}", style="yellow")
        found = quote(single, job, model)
        quotes.append(found.as_dict())
        if not as_json:
            head = f"request         {job.text}: {len(job.rows('forget'))} to forget, {len(job.rows('retain'))} to keep"
            print("\n".join(["", head, *found.lines()] if len(quotes) > 1 else [head, *found.lines()]))
    if as_json:
        print(json.dumps(quotes if recipe.requests else quotes[0], indent=2))
