"""`unweave demo --text`: answers before and after, a table, and a report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from unweave.commands.demo import Choice
from unweave.commands.numbers import counts, half, reasons
from unweave.commands.progress import watching
from unweave.demos.people import demo_text
from unweave.demos.text_world import DEMO
from unweave.errors import ConfigurationError
from unweave.report.build import build
from unweave.report.demo_text_page import COLUMNS, SIDES, cells, standing, world
from unweave.run.directory import creatable
from unweave.store import write_json

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
    for note in _notes(found["rows"]):
        console.print(note, style="dim", markup=False)
    console.print(
        "\ndist: mean absolute gap to the retrained model, in points, over all columns but FQ. FQ: forget quality, a "
        "p-value. In %: MU model utility; fP, fR, TR, ES, AUC on the people to forget (probability, ROUGE-L, truth "
        "ratio, extraction strength, membership attack); oR asked in other words; reP after relearning others; rP, rR "
        "on the people to keep. Dim rows are the scale: nothing done, the reference, and the same from another seed. "
        "Right is what the row 'retrained' says.\n"
        "±: the wider side of the 95 % interval over the n questions, for this model only. A row is one training: its "
        "distance has no interval, and 'retrained again' is what chance gives an exact method; nor has FQ, which for "
        "an exact method is any number from 0 to 1, equally likely.",
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
        table.add_row(row["name"], *map(Text.assemble, cells(row), _halves(row)), style=style)
    return table


def _halves(row: Json) -> Iterator[tuple[str, str]]:
    """Under every score, the wider side of its interval."""
    for key, _, _, places, factor in COLUMNS:
        side = half(row["scores"][key], factor, places) if key in row["scores"] else ""
        yield f"\n{side}", "dim"


def _notes(rows: Sequence[Json]) -> Iterator[str]:
    """How many questions every column is over, what has no interval, and why scores are undefined."""
    scores = [row["scores"] for row in rows]
    titles = {key: short for key, short, *_ in COLUMNS if key in scores[0]}
    yield f"n: {counts(scores, titles)} questions (MU: the least of its sets); 1 training a row"
    yield from reasons(
        {
            f"{row['name']}, {titles[key]}": row["scores"][key]["reason"]
            for row in rows
            for key in titles
            if row["scores"][key]["value"] is None
        }
    )
