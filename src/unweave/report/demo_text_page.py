"""The page of the demo on texts: what every model says, and how far it is from one that never knew."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unweave.report import plots
from unweave.report.page import Page, Plot, Section, Table, Verdict, number
from unweave.report.scores import score_text

Json = Mapping[str, Any]
# key, short head, long head, decimals, factor
COLUMNS = (
    ("distance", "dist", "distance, points", 1, 1),
    ("forget_quality", "FQ", "forget quality, p", 2, 1),
    ("model_utility", "MU", "model utility", 0, 100),
    ("forget_probability", "fP", "forget probability", 0, 100),
    ("forget_rouge", "fR", "forget ROUGE-L", 0, 100),
    ("forget_truth_ratio", "TR", "truth ratio", 0, 100),
    ("extraction_strength", "ES", "extraction strength", 0, 100),
    ("mia_loss", "AUC", "MIA AUC", 0, 100),
    ("paraphrased_prompt_rouge", "oR", "forget ROUGE-L in other words", 0, 100),
    ("relearned_probability", "reP", "forget probability after relearning", 0, 100),
    ("retain_probability", "rP", "retain probability", 0, 100),
    ("retain_rouge", "rR", "retain ROUGE-L", 0, 100),
)
SIDES = {"forget": "People to forget", "retain": "People to keep"}


def page(demo: Json) -> Page:
    """Words, tables and plots from `demo_text.json`."""
    return Page(
        title="unweave demo: people who do not exist, and a small language model that knew them",
        lead=f"{demo['created']}, {demo['seconds']:.0f} seconds in all. {world(demo)}",
        verdicts=[*_verdicts(demo), *_warnings(demo)],
        sections=[_answers(demo), _scores(demo), _settings(demo)],
    )


def read(directory: Path) -> Page:
    """The page of a demo directory."""
    return page(json.loads((directory / "demo_text.json").read_text(encoding="utf-8")))


def cells(row: Json) -> list[str]:
    """A row's numbers as the table shows them."""
    return [number(None if row[key] is None else factor * row[key], places) for key, _, _, places, factor in COLUMNS]


def world(demo: Json) -> str:
    """The data and the model in a sentence or two."""
    counts, original = demo["counts"], demo["rows"][0]
    recited = [f"{100 * original['recited'][side]:.0f} % on the {side} side" for side in SIDES]
    return (
        f"A transformer of {demo['weights']:,} weights, trained on the spot like its tokenizer, answers questions "
        f"about people word by word ({' and '.join(recited)}). It is to forget all {counts['forget']} "
        f"questions about some of them and to keep {counts['retain']} about the others. No method is shown "
        f"{counts['known'] + counts['places']} more that it learned; {counts['holdout']} it never learned."
    )


def standing(rows: Sequence[Json]) -> list[str]:
    """Who came how close, in sentences; also which headline method did worse than a baseline."""
    rows = [row for row in rows if row["distance"] is not None]
    methods = [row for row in rows if row["kind"] in ("baseline", "headline")]
    baselines = [row for row in methods if row["kind"] == "baseline"]
    if not methods:
        return ["No method has a distance."]
    best = min(methods, key=lambda row: row["distance"])
    ends = ", ".join(f"{row['name']} {row['distance']:.1f}" for row in rows if row["kind"] == "end")
    found = [f"{best['name']} comes closest to the retrained model: {best['distance']:.1f} points; {ends}."]
    if baselines:
        first = min(baselines, key=lambda row: row["distance"])
        worse = [
            f"{row['name']} ({row['distance']:.1f})"
            for row in methods
            if row["kind"] == "headline" and row["distance"] > first["distance"]
        ]
        if worse:
            found.append(f"Further away than {first['name']} ({first['distance']:.1f}): {', '.join(worse)}.")
    return found


def _verdicts(demo: Json) -> list[Verdict]:
    first, *worse = standing(demo["rows"])
    return [
        Verdict("Closest", first, "good"),
        *(Verdict("Headline methods that do worse", text, "note") for text in worse),
    ]


def _warnings(demo: Json) -> list[Verdict]:
    return [Verdict(f"Warning, {row['name']}", text, "note") for row in demo["rows"] for text in row["warnings"]]


def _answers(demo: Json) -> Section:
    tables = []
    for side, title in SIDES.items():
        asked = demo["answers"][side]
        names = list(asked[0]["answers"]) if asked else []
        rows = [["true answer", *(one["truth"] for one in asked)]]
        rows += [[name, *(one["answers"][name] for one in asked)] for name in names]
        tables.append(Table(title, ["", *(one["question"] for one in asked)], rows))
    text = (
        "Greedy answers. The original is the model before; a retrained one never saw the people to forget: it guesses."
    )
    return Section("What the models say", text, tables)


def _scores(demo: Json) -> Section:
    rows = [
        [
            row["name"],
            *(score_text(row["scores"][key]) if key in row["scores"] else number(row[key], 1) for key, *_ in COLUMNS),
            "–" if row["steps"] is None else str(row["steps"]),
            row["ended"] or "–",
        ]
        for row in demo["rows"]
    ]
    n = [max(row["scores"].get(key, {"n": 1})["n"] for row in demo["rows"]) for key, *_ in COLUMNS]
    rows.append(["n: models, then questions", *map(str, n), "", ""])
    heads = ["", *(long for _, _, long, _, _ in COLUMNS), "steps", "ended"]
    return Section(
        "Forgotten and kept",
        "Distance is the mean absolute gap to the retrained model, in points, over all columns but forget quality. "
        "On the forget side the right value is the retrained model's, not 0; the second retrained model shows what "
        "another seed changes. In place of real authors and world facts, model utility has people and towns that no "
        "method is shown. "
        "[ , ]: 95 % interval over questions, for this model only; a distance has none, as a row is one training. "
        "Forget quality compares truth ratios with the retrained model's: a p-value, so its own against itself is 1; "
        "an exact method's is any number from 0 to 1, equally likely.",
        [Table("", heads, rows)],
        _plots(demo["rows"]),
    )


def _plots(rows: Sequence[Json]) -> list[Plot]:
    known = [row for row in rows if row["distance"] is not None]
    distances = {row["name"]: row["distance"] for row in known if row["kind"] in ("baseline", "headline")}
    ends = {row["name"]: row["distance"] for row in known if row["kind"] == "end"}
    points = [
        plots.Point(row["name"], 100 * row["forget_probability"], 100 * row["retain_probability"])
        for row in rows
        if row["forget_probability"] is not None and row["retain_probability"] is not None
    ]
    plane = plots.plane(
        "Forgotten and kept", points, x="probability of forget answers, %", y="probability of retain answers, %"
    )
    return [
        Plot(plots.bars("Distance to the retrained model", distances, ends, x="points"), "Shorter is better."),
        Plot(plane, "Closest to the retrained model is best."),
    ]


def _settings(demo: Json) -> Section:
    ran = [[name, text] for name, text in demo["settings"].items()]
    about = [[name, str(value)] for name, value in demo["environment"].items()]
    text = (
        "Every run ends where a membership attack no longer tells the people to forget from others that no model saw, "
        "or when its steps are used up. The attack that is reported here looks at other people again."
    )
    return Section("Settings", text, [Table("Methods", ["", ""], ran), Table("Environment", ["", ""], about)])
