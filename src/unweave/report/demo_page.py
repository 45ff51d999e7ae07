"""The page of a demo: several requests, several methods, one scale."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unweave.contract import state_of
from unweave.evaluation.gap import GAP_METRICS
from unweave.report import plots
from unweave.report.contract import SAID
from unweave.report.page import Page, Plot, Section, Table, Verdict, number
from unweave.report.scores import score_text

Json = Mapping[str, Any]
COLUMNS = ["", "distance, points", *GAP_METRICS, "steps", "seconds", "contract", "ended"]


def page(demo: Json) -> Page:
    """Words, tables and plots from `demo.json`."""
    return Page(
        title="unweave demo: three requests on handwritten digits",
        lead=f"{demo['created']}, {demo['seconds']:.0f} seconds in all. Distance is the mean absolute gap to "
        "a model retrained without the forget set, over UA, RA, TA and the AUC of a membership attack. Reading the "
        f"contracts took {100 * demo['reading_share']:.1f} % of the runs' time.",
        verdicts=[_verdict(request) for request in demo["requests"]],
        sections=[*map(_request, demo["requests"]), Section("Environment", tables=[_environment(demo)])],
    )


def read(directory: Path) -> Page:
    """The page of a demo directory."""
    return page(json.loads((directory / "demo.json").read_text(encoding="utf-8")))


def _verdict(request: Json) -> Verdict:
    methods = [row for row in request["rows"] if row["kind"] == "method" and row["distance"] is not None]
    if not methods:
        return Verdict(request["title"], "no method was run", "note")
    best = min(methods, key=lambda row: row["distance"])
    text = f"{best['name']} comes closest: {best['distance']:.1f} points; {_ends(request)}"
    return Verdict(request["title"], text, "good" if best["distance"] < _levels(request)["original"] else "bad")


def _levels(request: Json) -> dict[str, float]:
    """The two ends of the scale: doing nothing, and the noise between two retrained models."""
    return {row["name"]: row["distance"] for row in request["rows"] if row["kind"] == "end"}


def _ends(request: Json) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in _levels(request).items())


def _request(request: Json) -> Section:
    rows = [
        [
            row["name"],
            number(row["distance"], 1),
            *(score_text(row["scores"][key]) for key in GAP_METRICS),
            "–" if row["steps"] is None else str(row["steps"]),
            number(row["seconds"], 1),
            "–" if row.get("met") is None else SAID[state_of(row)],
            row["ended"],
        ]
        for row in request["rows"]
    ]
    counts = ", ".join(f"{key} {max(row['scores'][key]['n'] for row in request['rows'])}" for key in GAP_METRICS)
    caption = (
        f"{_ends(request)}. [ , ]: 95 % interval over n examples, for this model only; n: {counts}. A row is one "
        "training: its distance has no interval; 'retrained again' is what chance gives."
    )
    return Section(request["title"], request["text"], [Table(caption, COLUMNS, rows)], _plots(request))


def _plots(request: Json) -> Sequence[Plot]:
    name = request["name"]
    distances = {
        row["name"]: row["distance"]
        for row in request["rows"]
        if row["kind"] == "method" and row["distance"] is not None
    }
    points = [plots.Point(row["name"], row["FA"], row["TA"]) for row in request["rows"] if row["FA"] is not None]
    found = [
        Plot(
            plots.bars(f"Distance to the retrained model: {name}", distances, _levels(request), x="points"),
            "Shorter is better; between the two dashed lines is all that can be gained.",
        ),
        Plot(
            plots.plane(f"Forgotten and kept: {name}", points, x="accuracy on the forget set, %", y="test accuracy, %"),
            "Closest to the retrained model is best.",
        ),
    ]
    for trace in request["traces"]:
        x = list(range(1, len(trace["cosine"]) + 1))
        title = f"Hardness of each step, {trace['method']}: {name}"
        drawing = plots.lines(
            title, x, {"cosine": trace["cosine"], "κ / κ₂": trace["kappa_ratio"]}, y="", levels_at={"zero": 0.0}
        )
        found.append(Plot(drawing, "Cosine below 0: the two gradients conflict. κ / κ₂ above 1: forgetting must cost."))
        for side in ("forget", "retain"):
            title = f"The {side} objective, {trace['method']}: {name}"
            drawing = plots.lines(title, x, {side: trace[side]}, y="loss")
            found.append(Plot(drawing, "On the examples of each step, before it; both objectives are minimised."))
    return found


def _environment(demo: Json) -> Table:
    return Table("", ["", ""], [[name, str(value)] for name, value in demo["environment"].items()])
