"""The page of a paper's experiment: its claims and their answers, its table beside the paper's numbers, its figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unweave.report import plots
from unweave.report.first import dated
from unweave.report.numbers import reasons
from unweave.report.page import Page, Plot, Section, Table, Verdict

Json = Mapping[str, Any]
FILE = "paper.json"
TONES = {"yes": "good", "no": "bad", "undecided": "note"}
LIMITS = (
    "Intervals are over seeds: their mean, and Student's t at 95 %. Three decide what is large beside their spread.",
    "At scale small the data and the model are other ones than the paper's: an answer is about this size.",
    "The paper's numbers stand here as others report them, and are marked by who does; none was measured here.",
)


def read(directory: Path) -> Page:
    """The page of a directory with `paper.json`."""
    return page(json.loads((directory / FILE).read_text(encoding="utf-8")))


def page(found: Json) -> Page:
    """Words, tables and plots."""
    experiment = found["experiment"]
    seeds = sorted({row["seed"] for row in found["rows"]})
    part = "" if found["status"] == "done" else f" Interrupted: {len(found['rows'])} of {found['runs']} runs."
    lead = (
        f"{experiment['paper']}. {dated(str(found['created']))}, scale {found['scale']}, {len(found['rows'])} runs, "
        f"seeds {', '.join(map(str, seeds))}, {found['seconds']:.0f} seconds of steps in all.{part}"
    )
    settings = [
        Table(name, ["", ""], [[key, json.dumps(value)] for key, value in each.items()])
        for name, each in {**experiment["axes"], "environment": found["environment"]}.items()
    ]
    return Page(
        title=experiment["title"],
        lead=lead,
        verdicts=[Verdict(each["text"], said(each), TONES[each["answer"]]) for each in found["answers"]],  # type: ignore[arg-type]
        sections=[
            Section("Table", experiment["about"], [table(found)], list(_plots(found))),
            Section("Settings", "", settings),
        ],
        limits=LIMITS,
    )


def said(answer: Json) -> str:
    """An answer in a line: the word, the number with its interval, the bound, what the paper reports."""
    why = f" ({answer['why']})" if answer["why"] else ""
    reported = f" The paper: {answer['reported']}." if answer["reported"] else ""
    if answer["value"] is None:
        return f"{answer['answer']}{why}.{reported}"
    return f"{answer['answer']}{why}: {interval(answer)}, {answer['bound']}.{reported}"


def interval(value: Json) -> str:
    """A mean over seeds with the ends of its interval."""
    if value["value"] is None:
        return "–"
    ends = "" if value["low"] is None else f" [{value['low']:.3g}, {value['high']:.3g}]"
    return f"{value['value']:.3g}{ends}"


def table(found: Json, form: Callable[[Json], str] = interval) -> Table:
    """A line for every cell; beside a column what the paper says, where a number of it is known."""
    experiment, words = found["experiment"], found["words"]
    axes, columns = list(experiment["axes"]), experiment["columns"]
    reported = {measure for line in found["table"] for measure in line["reported"]}
    heads, rows = list(axes), []
    for measure in columns:
        heads += [words[measure], *([f"{words[measure]}: the paper"] if measure in reported else [])]
    for line in found["table"]:
        cells = [line["where"].get(axis, line["where"].get("method", "") if axis == axes[-1] else "") for axis in axes]
        for measure in columns:
            cells.append(form(line["values"][measure]) if not line["refused"] else "refused")
            if measure in reported:
                value = line["reported"].get(measure)
                cells.append("" if value is None else f"{value[0]:g} ({value[1]})")
        rows.append(cells)
    none = "" if reported else " No number of the paper for this table is known to us."
    refused = {" ".join(line["where"].values()): line["refused"] for line in found["table"] if line["refused"]}
    return Table(" ".join([f"Mean over seeds [95 % interval].{none}", *reasons(refused)]), heads, rows)


def _plots(found: Json) -> Iterator[Plot]:
    for figure in found["experiment"]["figures"]:
        rows = [row for row in found["rows"] if figure["where"].items() <= row["where"].items()]
        if figure["trajectories"] is not None:
            yield from _trajectories(figure, rows)
            continue
        labels = list(dict.fromkeys(row["where"][figure["along"]] for row in rows))
        series = {
            name: [_mean(rows, figure, label, name) for label in labels]
            for name in dict.fromkeys(row["where"][figure["by"]] for row in rows)
        }
        series = {name: values for name, values in series.items() if any(each is not None for each in values)}
        if series:
            words = found["words"][figure["measure"]]
            yield Plot(
                plots.groups(figure["title"], labels, series, y=words), f"Means over seeds, along {figure['along']}."
            )


def _trajectories(figure: Json, rows: Sequence[Json]) -> Iterator[Plot]:
    curves: dict[str, list[Sequence[tuple[float, float]]]] = {}
    for row in rows:
        if row["path"] is not None:
            curves.setdefault(row["where"][figure["trajectories"]], []).append(list(zip(*row["path"], strict=True)))
    if curves:
        x, y = "rise of the forget loss, nats", "fall of the retain loss, nats"
        yield Plot(
            plots.paths(figure["title"], curves, x=x, y=y), "Further right and further up are better; a line a seed."
        )


def _mean(rows: Sequence[Json], figure: Json, label: str, name: str) -> float | None:
    at = {figure["along"]: label, figure["by"]: name}
    values = [row["values"][figure["measure"]] for row in rows if at.items() <= row["where"].items()]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
