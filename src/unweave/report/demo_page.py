"""The page of a demo: every request's models on one scale, and what they say where that is text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unweave.audit.standing import said
from unweave.contract import state_of
from unweave.report import plots, traces
from unweave.report.contract import SAID
from unweave.report.first import dated
from unweave.report.numbers import in_full
from unweave.report.page import Gallery, Page, Picture, Plot, Section, Table, Verdict, number

Json = Mapping[str, Any]
METHODS = ("method", "baseline", "headline")
"""Kinds of rows that are no ends of the scale."""
SIDES = {"forget": "People to forget", "retain": "People to keep"}


@dataclass(frozen=True)
class Kind:
    """What one demo calls things.

    Attributes:
        title: of the page.
        of: what an interval is over.
        over: what the distance is over.
        columns: of the table: a score's head on the console, its decimals and factor there.
        plane: keys of the axes on which the models are points, their factor and their names.
        right: what else is to be known of the scores.
        scale: what the rows above the methods are.
        chance: what is not known of a row.
    """

    title: str
    of: str
    over: str
    columns: Mapping[str, tuple[str, int, int]]
    plane: tuple[str, str, int, str, str]
    right: str = ""
    scale: str = "doing nothing, the reference, and the same from another seed"
    chance: str = "'retrained again' is what chance gives an exact method. Several trainings: unweave evidence"


KINDS = {
    "demo.json": Kind(
        "three requests on handwritten digits",
        "examples",
        "how often it is wrong on the data to forget, right on the data to keep and on unseen data, and how often an "
        "attack tells the data to forget from unseen data",
        {"UA": ("UA %", 1, 100), "RA": ("RA %", 1, 100), "TA": ("TA %", 1, 100), "MIA_AUC": ("AUC", 2, 1)},
        ("FA", "TA", 1, "accuracy on the forget set, %", "test accuracy, %"),
    ),
    "demo_text.json": Kind(
        "people who do not exist, and a small language model that knew them",
        "questions",
        "all scores, in %, but the chance of such answers from a retrained model (a p-value: an exact method's is any "
        "number from 0 to 1, equally likely)",
        {
            "forget_quality": ("FQ", 2, 1),
            "model_utility": ("MU", 0, 100),
            "forget_probability": ("fP", 0, 100),
            "forget_rouge": ("fR", 0, 100),
            "forget_truth_ratio": ("TR", 0, 100),
            "extraction_strength": ("ES", 0, 100),
            "mia_loss": ("AUC", 0, 100),
            "paraphrased_prompt_rouge": ("oR", 0, 100),
            "relearned_probability": ("reP", 0, 100),
            "retain_probability": ("rP", 0, 100),
            "retain_rouge": ("rR", 0, 100),
        },
        (
            *("forget_probability", "retain_probability", 100),
            *("probability of forget answers, %", "probability of retain answers, %"),
        ),
        "Every run forgets until a membership attack no longer tells the people to forget from others that no model "
        "saw, and repairs what that cost, or ends when its steps are used up; the attack reported here looks at "
        "other people again. In place of real authors and world facts, model utility has people and towns that no "
        "method is shown; its n is the least of its sets.",
    ),
    "demo_drawn.json": Kind(
        "a digit that a small diffusion model is to draw no more",
        "images",
        "images asked for as the class to forget that are not of it, images of the other classes that are, images of "
        "the other classes that are of that class, and images of that class drawn for a condition that was searched "
        "for it",
        {
            "UA_drawn": ("UA %", 1, 100),
            "RA_drawn": ("RA %", 1, 100),
            "leak": ("leak %", 1, 100),
            "frechet": ("Fréchet", 2, 1),
            "search": ("search %", 0, 100),
        },
        ("shown", "RA_drawn", 1, "images asked for as the class to forget that show it, %", "others drawn as asked, %"),
        "The Fréchet distance is on features of the judge and compares with nobody else's. The condition search has 20 "
        "images of the class and 60 steps of Adam on a row of the embeddings; then 100 images are drawn.",
        "doing nothing, the reference, and the class hidden from its own condition while the model still knows it",
        "another seed may order the rows otherwise",
    ),
}


def read(directory: Path) -> Page:
    """The page of a demo directory."""
    name = next(name for name in KINDS if (directory / name).is_file())
    return page(json.loads((directory / name).read_text(encoding="utf-8")), KINDS[name])


def page(demo: Json, kind: Kind) -> Page:
    """Words, tables and plots from what a demo found."""
    requests = [titled(request) for request in demo.get("requests", [demo])]
    about = {"Methods": demo["settings"], "Environment": demo["environment"]}
    settings = [
        Table(name, ["", ""], [[key, str(value)] for key, value in each.items()]) for name, each in about.items()
    ]
    return Page(
        title=f"unweave demo: {kind.title}",
        lead=f"{dated(str(demo['created']))}, {demo['seconds']:.0f} seconds in all. {' '.join(notes(demo, kind))}",
        verdicts=[verdict for request in requests for verdict in _verdicts(request)],
        sections=[
            *(section for request in requests for section in _sections(request, kind)),
            Section("Settings", kind.right, settings),
        ],
    )


def titled(request: Json) -> Json:
    """With title and text; the request on texts is told by what its models are."""
    if "title" in request:
        return request
    counts, recited = request["counts"], request["rows"][0]["recited"]
    said = " and ".join(f"{100 * recited[side]:.0f} % on the {side} side" for side in SIDES)
    text = (
        f"A transformer of {request['weights']:,} weights, trained on the spot like its tokenizer, answers questions "
        f"about people word by word ({said}). It is to forget all {counts['forget']} questions about some of them and "
        f"to keep {counts['retain']} about the others. No method is shown {counts['known'] + counts['places']} more "
        f"that it learned; {counts['holdout']} it never learned."
    )
    title = "Forget people whom a language model knows"
    return {"name": "people", "title": title, "text": text, "traces": [], **request}


def notes(demo: Json, kind: Kind) -> list[str]:
    """What the distance is and what its scale, what has an interval, and what contracts cost."""
    spent = (
        f"Reading the contracts took {100 * demo['reading_share']:.1f} % of the runs' time. !: the contract was "
        "missed, or is not shown to be met."
    )
    found = [
        f"Distance: mean absolute gap to a model retrained without the forget set, in points, over {kind.over}. The "
        f"rows above the methods are the scale: {kind.scale}. Right is what the row 'retrained' says.",
        f"[ , ]: 95 % interval over the n {kind.of}, for this model only; ±: its wider side. A row is one training: "
        f"its distance has no interval, and {kind.chance}.",
    ]
    return [*found, spent] if demo["reading_share"] else found


def methods_of(rows: Sequence[Json]) -> list[Json]:
    """The rows of methods that have a distance, the closest first."""
    known = [row for row in rows if row["kind"] in METHODS and row["distance"] is not None]
    return sorted(known, key=lambda row: float(row["distance"]))


def standing(rows: Sequence[Json]) -> list[str]:
    """Who came how close, in sentences; also which headline method did worse than a baseline."""
    methods = methods_of(rows)
    if not methods:
        return ["No method has a distance."]
    best, baselines = methods[0], [row for row in methods if row["kind"] == "baseline"]
    ends = ", ".join(f"{name} {value:.1f}" for name, value in _ends(rows).items())
    found = [f"{best['name']} comes closest: {best['distance']:.1f} points; {ends}."]
    for first in baselines[:1]:
        further = [row for row in methods if row["kind"] == "headline" and row["distance"] > first["distance"]]
        if worse := ", ".join(f"{row['name']} ({row['distance']:.1f})" for row in further):
            found.append(f"Further away than {first['name']} ({first['distance']:.1f}): {worse}.")
    return found


def _ends(rows: Sequence[Json]) -> dict[str, float]:
    """The two ends of the scale: doing nothing, and the noise between two retrained models."""
    return {row["name"]: row["distance"] for row in rows if row["kind"] == "end" and row["distance"] is not None}


def _verdicts(request: Json) -> Iterator[Verdict]:
    rows = request["rows"]
    first, *worse = standing(rows)
    methods, nothing = methods_of(rows), _ends(rows).get("original")
    gained = methods and nothing is not None and methods[0]["distance"] < nothing
    yield Verdict(request["title"], first, "good" if gained else "bad" if methods else "note")
    yield from (Verdict("Headline methods that do worse", text, "note") for text in worse)
    yield from (Verdict("What the numbers say", text, "note") for text in request.get("said", ()))
    for row in rows:
        yield from (Verdict(f"Warning, {row['name']}", text, "note") for text in row.get("warnings", ()))


def _sections(request: Json, kind: Kind) -> Iterator[Section]:
    if answers := request.get("answers"):
        text = "Greedy answers. The original is the model before; a retrained one never saw those people: it guesses."
        tables = []
        for side, title in SIDES.items():
            asked = answers[side]
            told = [{"true answer": one["truth"], **one["answers"]} for one in asked]
            rows = [[name, *(each[name] for each in told)] for name in (told[0] if told else ())]
            tables.append(Table(title, ["", *(one["question"] for one in asked)], rows))
        yield Section("What the models say", text, tables)
    rows = [
        [
            row["name"],
            number(row["distance"], 1),
            *(in_full(row["scores"][key]) for key in kind.columns),
            "–" if row["steps"] is None else str(row["steps"]),
            number(row["seconds"], 1),
            "–" if row.get("met") is None else SAID[state_of(row)],
            row["ended"],
        ]
        for row in request["rows"]
    ]
    heads = ["", "distance, points", *map(said, kind.columns), "steps", "seconds", "contract", "ended"]
    sizes = (f"{said(key)} {max(row['scores'][key]['n'] for row in request['rows'])}" for key in kind.columns)
    table = Table(f"n: {', '.join(sizes)}", heads, rows)
    galleries = []
    if grid := request.get("grid"):
        caption = "What the models draw: from the same noise; the class to forget comes first, more than once"
        galleries.append(Gallery(caption, [Picture(grid, "a row a model")], wide=True))
    yield Section(request["title"], request["text"], [table], list(_plots(request, kind)), galleries)


def _plots(request: Json, kind: Kind) -> Iterator[Plot]:
    name, rows, methods = request["name"], request["rows"], methods_of(request["rows"])
    distances = {row["name"]: row["distance"] for row in rows if row in methods}
    drawing = plots.bars(f"Distance to the retrained model: {name}", distances, _ends(rows), x="points")
    gain = "between the two dashed lines" if len(_ends(rows)) > 1 else "down from the dashed line"
    yield Plot(drawing, f"Shorter is better; {gain} is all that can be gained.")
    forget, keep, factor, x, y = kind.plane
    seen = [row for row in rows if row[forget] is not None and row[keep] is not None]
    points = [plots.Point(row["name"], factor * row[forget], factor * row[keep]) for row in seen]
    drawing = plots.plane(f"Forgotten and kept: {name}", points, x=x, y=y)
    yield Plot(drawing, "Closest to the retrained model is best.")
    for trace in request["traces"]:
        losses = zip(trace["forget"], trace["retain"], strict=True)
        values = enumerate(zip(losses, trace["cosine"], trace["kappa_ratio"], strict=True), 1)
        steps = [{"step": i, "losses": loss, "cosine": cosine, "kappa_ratio": k} for i, (loss, cosine, k) in values]
        yield from traces.drawn(steps, f", {trace['method']}: {name}") if steps else ()
