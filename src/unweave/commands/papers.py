"""`unweave papers`: what the papers' experiments need and cost, and one of them run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unweave.commands.progress import say, speaking
from unweave.methods import METHODS
from unweave.methods.own import added
from unweave.oneshot import CATALOGUE
from unweave.papers import Experiment, known, open_, run
from unweave.papers.cost import Estimate, estimate
from unweave.report.build import build
from unweave.report.paper_page import said, table
from unweave.report.plots.canvas import shown
from unweave.run.interrupt import REASON
from unweave.watch import spoken, watching

_INTERRUPTED = 130


def listed(*, as_json: bool) -> None:
    """Every experiment: what it is about, how many runs, and at each scale what it needs and costs."""
    every = {name: open_(name) for name in known()}
    if as_json:
        print(json.dumps({name: _told(each) for name, each in every.items()}, indent=2))
        return
    console = Console(highlight=False)
    rows = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("experiment", "scale", "runs", "time", "needs"):
        rows.add_column(head, overflow="fold")
    for name, each in every.items():
        for scale, told in _told(each)["scales"].items():
            rows.add_row(name, scale, str(told["runs"]), told["time"], told["needs"])
    console.print(rows)
    console.print("unweave papers run NAME [--scale paper] [--dry-run] [--with module:function]", style="dim")


def _told(experiment: Experiment) -> dict[str, Any]:
    scales = {
        name: {"runs": len(experiment.cells(name)), "needs": at.needs, "time": spoken(at.took) if at.took else "?"}
        for name, at in experiment.scales.items()
    }
    return {"title": experiment.title, "paper": experiment.paper, "about": experiment.about, "scales": scales}


def main(
    name: str,
    scale: str,
    output: Path | None,
    overrides: Sequence[str],
    *,
    own: Sequence[str],
    dry: bool,
    as_json: bool,
) -> int:
    """Runs what is left of an experiment, and writes its page; the exit code is 130 if it was interrupted.

    Raises:
        ConfigurationError: no such experiment or scale, or faults of a recipe.
    """
    experiment = open_(name)
    with added(own, METHODS, CATALOGUE) as methods, speaking():
        at, cells = experiment.at(scale), experiment.cells(scale, methods)
        if dry:
            cost = estimate(at, cells, overrides)
            _dry(experiment, scale, len(cells), cost, as_json=as_json)
            return 0
        folder = output or Path("papers") / name.replace("/", "-").removesuffix(".yaml") / scale
        with watching() as watch:
            found = run(experiment, scale, folder, own=methods, overrides=overrides, watch=watch)
        page = build(folder)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _tell(found)
        print(f"report: {page}")
    if found["status"] == REASON:
        say("interrupted: the same command does what is left")
        return _INTERRUPTED
    return 0


def _dry(experiment: Experiment, scale: str, runs: int, cost: Estimate | None, *, as_json: bool) -> None:
    at = experiment.at(scale)
    told: dict[str, Any] = {"runs": runs, "needs": at.needs, "measured_seconds": at.took}
    if cost is not None:
        told |= {"memory_bytes": cost.memory, "training_seconds": cost.training, "steps_seconds": cost.steps}
    if as_json:
        print(json.dumps(told, indent=2))
        return
    print(f"{experiment.title}, scale {scale}: {runs} runs\nneeds           {at.needs}")
    if cost is not None:
        first = f"{spoken(cost.training)} of training and " if cost.training else ""
        print(f"memory          about {cost.memory / 2**30:.1f} GiB at the peak of a step")
        print(f"time            about {first}{spoken(cost.steps)} of steps, and the scores")
    if at.took is not None:
        print(f"measured        {spoken(at.took)} on one core")


def _tell(found: Mapping[str, Any]) -> None:
    console, seen = Console(highlight=False), table(found, lambda value: shown(value["value"]))
    rows = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in seen.columns:
        rows.add_column(head, overflow="fold")
    for row in seen.rows:
        rows.add_row(*row)
    console.print(rows)
    console.print(f"{seen.caption} Intervals stand in the report.", style="dim", markup=False)
    for answer in found["answers"]:
        console.print(f"{answer['text']}: {said(answer)}", markup=False)
