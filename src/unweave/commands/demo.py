"""`unweave demo`: a table of every request and a report that a person understands at once."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unweave.demos.digits import demo
from unweave.demos.drawn import EPOCH, demo_drawn
from unweave.demos.texts import demo_text
from unweave.errors import ConfigurationError
from unweave.report.build import build
from unweave.report.demo_page import KINDS, METHODS, SIDES, Kind, methods_of, notes, standing, titled
from unweave.report.numbers import half_width, most_counted, reasons
from unweave.report.page import number
from unweave.run.directory import creatable
from unweave.store import atomically, write_json
from unweave.watch import watching

Json = Mapping[str, Any]
BARS = "▁▂▃▄▅▆▇█"
WIDTH, BLOCKS = 5, 60  # characters of the longest bar and of a trace
BESIDE, ROOM = 4, 6  # scores that fit with their intervals beside them, or below: a terminal has 80 characters


def main(
    folder: Path | None,
    *,
    text: bool,
    drawn: bool,
    requests: Sequence[str],
    methods: Sequence[str],
    seed: int,
    steps: int | None,
    epochs: int | None,
    as_json: bool,
) -> None:
    """Runs a demo, prints each request's table as soon as it is there, writes JSON, page and, if it has one, a grid."""
    if text and drawn:
        raise ConfigurationError("demo: --text and --drawn are two demos; give one of them")
    if (text or drawn) and requests:
        which = "--text" if text else "--drawn"
        raise ConfigurationError(f"demo: --request chooses among the digits' requests; {which} has one of its own")
    name = "demo_text.json" if text else "demo_drawn.json" if drawn else "demo.json"
    console, kind = Console(stderr=as_json, highlight=False), KINDS[name]
    run = demo_text if text else demo_drawn if drawn else partial(demo, requests)
    training = {} if epochs is None else {"steps": EPOCH * epochs} if drawn else {"epochs": epochs}
    tell, folder = partial(_tell, console, kind), folder or Path(f"unweave-{name[:-5].replace('_', '-')}")
    creatable(folder)
    with watching() as watch:
        found = run(methods, seed=seed, steps=steps, training=training, watch=watch, tell=tell)
    write_json(folder / name, found)
    if "grid" in found:
        atomically(folder / "grid.png", base64.b64decode(found["grid"]))
    page = build(folder)
    if as_json:
        print(json.dumps(found, indent=2))
    console.print("\n" + "\n".join(notes(found, kind)), style="dim", markup=False)
    console.print(f"{found['seconds']:.0f} s. Report with plots: {page}", markup=False, soft_wrap=True)


def _tell(console: Console, kind: Kind, request: Json) -> None:
    """One request: what the models say, their table, and who came how close."""
    request = titled(request)
    console.print(f"\n{request['title']}", style="bold", markup=False)
    console.print(request["text"], markup=False)
    for side, asked in request.get("answers", {}).items():
        for one in asked:
            console.print(f"\n{SIDES[side]}: {one['question']}", style="bold", markup=False)
            console.print(_answers(one))
    console.print(_table(request["rows"], kind))
    heads = [f"{head} {key}" for key, (head, *_) in kind.columns.items()] if len(kind.columns) > ROOM else []
    for note in (*_notes(request["rows"], kind), *filter(None, [", ".join(heads)])):
        console.print(note, style="dim", markup=False)
    for sentence in (*standing(request["rows"]), *request.get("said", ()), *map(_hardness, request["traces"])):
        console.print(sentence, markup=False)


def _answers(asked: Json) -> Table:
    """One question: the truth, then what every model says; bold is word by word the truth."""
    table = Table(box=None, padding=(0, 1, 0, 2), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_row("true answer", Text(asked["truth"]), style="dim")
    for name, answer in asked["answers"].items():
        table.add_row(name, Text(answer), style="bold" if answer == asked["truth"] else "")
    return table


def _table(rows: Sequence[Json], kind: Kind) -> Table:
    """One row per model; dim are the ends of the scale, bold is the method that comes closest.

    Where the terminal has room for it, intervals stand beside the scores, not below, and time and a bar at the end.
    """
    roomy, beside = (len(kind.columns) <= most for most in (ROOM, BESIDE))
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    heads = [head for head, *_ in kind.columns.values()]
    for head in ["distance", *heads, "s"] if roomy else ["dist", *heads]:
        table.add_column(head, justify="right", no_wrap=True)
    best = methods_of(rows)[:1]
    longest = max((row["distance"] for row in rows if row["distance"]), default=1.0)
    for row in rows:
        cells: list[str | Text] = [row["name"] + (" !" if row.get("met") is False else ""), number(row["distance"], 1)]
        for key, (_, places, factor) in kind.columns.items():
            score = row["scores"][key]
            value = number(None if score["value"] is None else factor * score["value"], places)
            cells.append(Text.assemble(value, "" if beside else "\n", (half_width(score, factor, places), "dim")))
        if roomy:
            bar = "█" * round(WIDTH * (row["distance"] or 0.0) / longest)
            cells += ["" if row["seconds"] is None else number(row["seconds"], 1), bar]
        style = "dim" if row["kind"] not in METHODS else "bold" if row in best else ""
        table.add_row(*cells, style=style)
    return table


def _notes(rows: Sequence[Json], kind: Kind) -> Iterator[str]:
    """How many examples every column is over, and why scores are undefined."""
    titles = {key: head.removesuffix(" %") for key, (head, *_) in kind.columns.items()}
    yield f"n: {most_counted([row['scores'] for row in rows], titles)} {kind.of}; 1 training a row"
    undefined = {
        f"{row['name']}, {title}": row["scores"][key]["reason"]
        for row in rows
        for key, title in {**titles, "distance": "distance"}.items()
        if key in row["scores"] and row["scores"][key]["value"] is None
    }
    yield from reasons(undefined)


def _hardness(trace: Json) -> str:
    """The cosine of the two gradients over the steps as a line of blocks: low is conflict."""
    values = [value for value in trace["cosine"] if value is not None]
    if not values:
        return ""
    picked = values[:: -(-len(values) // BLOCKS)]
    line = "".join(BARS[min(7, int(4 * (value + 1)))] for value in picked)
    ends = f"{values[0]:+.2f} {line} {values[-1]:+.2f}"
    return f"hardness of {trace['method']}, cosine of the gradients (low: conflict)\n{ends}"
