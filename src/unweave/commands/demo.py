"""`unweave demo`: tables and a report that a person understands at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unweave.commands.progress import watching
from unweave.report.build import build
from unweave.report.page import number
from unweave.run.demo import demo
from unweave.run.directory import creatable
from unweave.run.record import write_json

Json = Mapping[str, Any]
BARS = "▁▂▃▄▅▆▇█"
WIDTH, BLOCKS = 8, 60  # characters of the longest bar and of a trace: a terminal has 80


@dataclass(frozen=True)
class Choice:
    """What of the demo is run: nothing named means everything, no number the demo's own."""

    requests: Sequence[str]
    methods: Sequence[str]
    seed: int
    steps: int | None
    epochs: int | None


def main(folder: Path, choice: Choice, *, as_json: bool) -> None:
    """Runs the demo, prints each request's table as soon as it is there, writes `demo.json` and the page."""
    console = Console(stderr=as_json, highlight=False)

    def tell(request: Json) -> None:
        console.print(f"\n{request['title']}", style="bold", markup=False)
        console.print(request["text"], markup=False)
        console.print(_table(request))
        for trace in request["traces"]:
            console.print(_hardness(trace), markup=False)

    creatable(folder)
    with watching() as watch:
        found = demo(
            choice.requests,
            choice.methods,
            seed=choice.seed,
            steps=choice.steps,
            training={} if choice.epochs is None else {"epochs": choice.epochs},
            watch=watch,
            tell=tell,
        )
    write_json(folder / "demo.json", found)
    page = build(folder)
    if as_json:
        print(json.dumps(found, indent=2))
    console.print(
        "\nDistance: mean absolute gap to a model retrained without the forget set, in points, over UA "
        "(error on the forget set), RA and TA (accuracy on retain and test set) and the AUC of a membership "
        "attack. Dim rows are the scale: doing nothing, the reference, and the same from another seed.",
        style="dim",
    )
    share = 100 * found["reading_share"]
    console.print(f"Reading the contracts took {share:.1f} % of the runs' time.", style="dim")
    console.print(f"{found['seconds']:.0f} s. Report with plots: {page}", markup=False, soft_wrap=True)


def _table(request: Json) -> Table:
    """One row per model; dim are the two ends of the scale, bold is the method that comes closest."""
    rows = request["rows"]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in ("distance", "UA %", "RA %", "TA %", "AUC", "steps", "s", "contract"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    known = [row["distance"] for row in rows if row["distance"] is not None]
    methods = [row["distance"] for row in rows if row["kind"] == "method" and row["distance"] is not None]
    for row in rows:
        style = "dim" if row["kind"] != "method" else "bold" if row["distance"] == min(methods) else ""
        cells = [number(row[key], 1) for key in ("distance", "UA", "RA", "TA")]
        steps = "" if row["steps"] is None else str(row["steps"])
        cells += [number(row["MIA_AUC"], 2), steps, "" if row["seconds"] is None else number(row["seconds"], 1)]
        cells.append({None: "", True: "met", False: "missed"}[row.get("met")])
        length = WIDTH * (row["distance"] or 0.0) / (max(known) or 1.0)
        table.add_row(row["name"], *cells, "█" * round(length), style=style)
    return table


def _hardness(trace: Json) -> str:
    """The cosine of the two gradients over the steps as a line of blocks: low is conflict."""
    values = [value for value in trace["cosine"] if value is not None]
    if not values:
        return ""
    picked = values[:: -(-len(values) // BLOCKS)]
    line = "".join(BARS[min(7, int(4 * (value + 1)))] for value in picked)
    ends = f"{values[0]:+.2f} {line} {values[-1]:+.2f}"
    return f"hardness of {trace['method']}, cosine of the gradients (low: conflict)\n{ends}"
