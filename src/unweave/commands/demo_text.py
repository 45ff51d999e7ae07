"""`unweave demo --text`: answers before and after, a table, and a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from unweave.commands.demo import Choice
from unweave.commands.progress import watching
from unweave.errors import ConfigurationError
from unweave.report.build import build
from unweave.report.demo_text_page import COLUMNS, SIDES, cells, standing, world
from unweave.run.demo_text import demo_text
from unweave.run.directory import creatable
from unweave.run.record import write_json
from unweave.run.text_world import DEMO

Json = Mapping[str, Any]


def main(folder: Path, choice: Choice, *, as_json: bool) -> None:
    """Runs the demo, prints answers and table, writes `demo_text.json` and the page."""
    if choice.requests:
        raise ConfigurationError("demo: --request chooses among the digits' requests; --text has one of its own")
    console = Console(stderr=as_json, highlight=False)
    creatable(folder)
    with watching() as watch:
        found = demo_text(
            choice.methods, seed=choice.seed, size=DEMO.of(steps=choice.steps, epochs=choice.epochs), watch=watch
        )
    write_json(folder / "demo_text.json", found)
    page = build(folder)
    if as_json:
        print(json.dumps(found, indent=2))
    console.print(f"\n{world(found)}", markup=False)
    for side, title in SIDES.items():
        for asked in found["answers"][side]:
            console.print(f"\n{title}: {asked['question']}", style="bold", markup=False)
            console.print(_answers(asked))
    console.print()
    console.print(_table(found["rows"]))
    console.print(
        "\ndist: mean absolute gap to the retrained model, in points, over all columns but FQ. FQ: forget quality, a "
        "p-value. In %: MU model utility; fP, fR, TR, ES, AUC on the people to forget (probability, ROUGE-L, truth "
        "ratio, extraction strength, membership attack); oR asked in other words; reP after relearning others; rP, rR "
        "on the people to keep. Dim rows are the scale: nothing done, the reference, and the same from another seed.",
        style="dim",
        markup=False,
    )
    for sentence in standing(found["rows"]):
        console.print(sentence, markup=False)
    console.print(f"{found['seconds']:.0f} s. Report with plots: {page}", markup=False, soft_wrap=True)


def _answers(asked: Json) -> Table:
    """One question: the truth, then what every model says; bold is word by word the truth."""
    table = Table(box=None, padding=(0, 1, 0, 2), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row("true answer", escape(asked["truth"]), style="dim")
    for name, answer in asked["answers"].items():
        table.add_row(name, escape(answer), style="bold" if answer == asked["truth"] else "")
    return table


def _table(rows: list[Json]) -> Table:
    """One row per model; dim are the ends of the scale, bold is the method that comes closest."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for _, short, *_ in COLUMNS:
        table.add_column(short, justify="right", no_wrap=True)
    methods = [r["distance"] for r in rows if r["kind"] in ("baseline", "headline") and r["distance"] is not None]
    for row in rows:
        method = row["kind"] in ("baseline", "headline")
        style = "dim" if not method else "bold" if methods and row["distance"] == min(methods) else ""
        table.add_row(row["name"], *cells(row), style=style)
    return table
