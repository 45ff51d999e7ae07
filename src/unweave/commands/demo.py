"""`unweave demo`: tables and a report that a person understands at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unweave.commands.numbers import counts, half, reasons
from unweave.commands.progress import watching
from unweave.demos.digits import demo
from unweave.report.build import build
from unweave.report.page import number
from unweave.run.directory import creatable
from unweave.store import write_json

Json = Mapping[str, Any]
BARS = "▁▂▃▄▅▆▇█"
WIDTH, BLOCKS = 5, 60  # characters of the longest bar and of a trace: a terminal has 80
COLUMNS = {"UA": ("UA %", 100, 1), "RA": ("RA %", 100, 1), "TA": ("TA %", 100, 1), "MIA_AUC": ("AUC", 1, 2)}
"""Score -> its head, the factor that it is shown by, and digits."""


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
        for note in _notes(request["rows"]):
            console.print(note, style="dim", markup=False)
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
        "attack. Dim rows are the scale: doing nothing, the reference, and the same from another seed. Right is what "
        "the row 'retrained' says.\n"
        "±: the wider side of the 95 % interval over the n examples, for this model only. A row is one training: its "
        "distance has no interval, and 'retrained again' is what chance gives an exact method. Several trainings: "
        "unweave evidence.  ! the contract was missed, or is not shown to be met.",
        style="dim",
        markup=False,
    )
    share = 100 * found["reading_share"]
    console.print(f"Reading the contracts took {share:.1f} % of the runs' time.", style="dim")
    console.print(f"{found['seconds']:.0f} s. Report with plots: {page}", markup=False, soft_wrap=True)


def _table(request: Json) -> Table:
    """One row per model; dim are the two ends of the scale, bold is the method that comes closest."""
    rows = request["rows"]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in ("distance", *(title for title, _, _ in COLUMNS.values()), "s"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    known = [row["distance"] for row in rows if row["distance"] is not None]
    methods = [row["distance"] for row in rows if row["kind"] == "method" and row["distance"] is not None]
    for row in rows:
        style = "dim" if row["kind"] != "method" else "bold" if row["distance"] == min(methods) else ""
        cells = [_score(row["scores"][key], factor, places) for key, (_, factor, places) in COLUMNS.items()]
        seconds = "" if row["seconds"] is None else number(row["seconds"], 1)
        bar = "█" * round(WIDTH * (row["distance"] or 0.0) / (max(known) or 1.0))
        name = row["name"] + (" !" if row.get("met") is False else "")
        table.add_row(name, number(row["distance"], 1), *cells, seconds, bar, style=style)
    return table


def _score(score: Json, factor: float, places: int) -> Text:
    value = number(None if score["value"] is None else factor * score["value"], places)
    return Text.assemble(value, (half(score, factor, places), "dim"))


def _notes(rows: Sequence[Json]) -> list[str]:
    """How many examples every column is over, and why scores are undefined."""
    scores = [row["scores"] for row in rows]
    titles = {key: title.removesuffix(" %") for key, (title, _, _) in COLUMNS.items()}
    undefined = {
        f"{row['name']}, {titles.get(key, key)}": score["reason"]
        for row in rows
        for key, score in row["scores"].items()
        if score["value"] is None
    }
    return [f"n: {counts(scores, titles)} examples; 1 training a row", *reasons(undefined)]


def _hardness(trace: Json) -> str:
    """The cosine of the two gradients over the steps as a line of blocks: low is conflict."""
    values = [value for value in trace["cosine"] if value is not None]
    if not values:
        return ""
    picked = values[:: -(-len(values) // BLOCKS)]
    line = "".join(BARS[min(7, int(4 * (value + 1)))] for value in picked)
    ends = f"{values[0]:+.2f} {line} {values[-1]:+.2f}"
    return f"hardness of {trace['method']}, cosine of the gradients (low: conflict)\n{ends}"
