"""`unweave tune`: method, knobs and step of a recipe, searched without a model retrained for its request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from unweave import modalities
from unweave.commands import cluster as clusters
from unweave.commands.progress import say, speaking
from unweave.errors import ConfigurationError
from unweave.modalities import read
from unweave.report.build import build
from unweave.report.numbers import Json
from unweave.report.page import number
from unweave.report.tune_page import called, said, verdicts
from unweave.run.interrupt import REASON
from unweave.tuning import FILE, TUNED, Asked, check_single, space_of, tune
from unweave.tuning.world import By
from unweave.watch import watching

_MISSED, _INTERRUPTED = 3, 130
SHOWN = 5  # trials on the console


def main(
    path: Path,
    overrides: Sequence[str],
    output: Path | None,
    *,
    trials: int,
    methods: str | None,
    proxies: int,
    by: By,
    jobs: int | None,
    cluster: str | None,
    seed: int,
    free: bool,
    space: bool,
    as_json: bool,
) -> int:
    """Does what is left of a search, and prints the best; or prints the space, and does nothing.

    The exit code is 3 if no trial met every clause of the contract, 130 if it was interrupted, otherwise 0.

    Raises:
        ConfigurationError: the recipe's faults, and those of the folder and the search.
    """
    recipe = read(path, overrides)
    check_single(recipe)
    chosen = tuple(name.strip() for name in (methods or "").split(",") if name.strip())
    if space:
        lines = space_of(recipe, modalities.job(recipe).task, chosen, free).lines()
        print(json.dumps(lines, indent=2) if as_json else "\n".join(lines))
        return 0
    if cluster is not None and jobs is not None:
        raise ConfigurationError("tune: --jobs are processes of this machine, --cluster has workers of its own")
    folder = output or path.parent / "tuned" / path.stem
    asked = Asked(trials, chosen, proxies, by, seed, free)
    with ExitStack() as open_:
        there = open_.enter_context(clusters.cluster(cluster)) if cluster is not None else None
        executor, many = (None, jobs or 1) if there is None else there
        watch, _ = open_.enter_context(watching()), open_.enter_context(speaking())
        found = tune(recipe, folder, asked, jobs=many, executor=executor, watch=watch, promise=say)
        page = build(folder)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _tell(found)
    if found["status"] == REASON:
        say("interrupted: the same command does what is left")
        return _INTERRUPTED
    if not as_json:
        print(f"tuned: {folder / TUNED}\nreport: {page}")
    return 0 if found["met"] else _MISSED


def _tell(found: Json) -> None:
    console, rows = Console(highlight=False), Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("trial", "setting", "distance" if found["asked"]["by"] == "proxies" else "used", "missed"):
        rows.add_column(head, overflow="fold")
    complete = [row for row in found["trials"] if row["state"] == "complete"]
    ranked = sorted(complete, key=lambda row: (row["violation"], row["objective"], row["number"]))
    for row in [*ranked[:SHOWN], *(row for row in ranked[SHOWN:] if row["number"] == 0)]:
        missed = "no" if not row["violation"] else number(row["violation"], 2)
        rows.add_row(called(row, found), said(row["setting"]), number(row["objective"], 3), missed)
    console.print(rows)
    lost = len(found["trials"]) - len(complete)
    console.print(f"{len(found['trials'])} tried, {lost} of them pruned or refused: {FILE}", style="dim", markup=False)
    for verdict in verdicts(found):
        console.print(f"{verdict.label}: {verdict.text}", markup=False, soft_wrap=True)
