"""The forest of signed gaps to retraining, with the null band and the margins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unweave.evaluation.sheet import SHEET
from unweave.report import plots
from unweave.report.card.evidence import p, span, table, value
from unweave.report.page import Plot, Section, Table

Json = Mapping[str, Any]
TITLE = "Gaps to retraining, over several trainings"
HEADS = [
    "",
    "gap",
    "95 % interval",
    "an exact method",
    "p of no gap",
    "margin",
    "p of a gap beyond it",
    "verdict",
    "original",
]


def section(card: Json) -> Section:
    """Gaps over training runs: what may be said of the method and not of one lucky model alone."""
    gaps, runs = card["gaps"], card["runs"]
    own = gaps["unlearned"]
    text = (
        f"Means over {runs['unlearned']} unlearned and {runs['retrained']} retrained models, each of its own training. "
        "Equivalent: the whole interval lies within the margin. Different: no gap at all does not fit what was "
        f"measured. {_settled(card)}"
    )
    extra = {
        f"{name}, {whose}": gaps[whose][key]
        for name, key in (("average gap", "average_gap"), ("ToW", "ToW"))
        for whose in ("unlearned", "original", "null")
        if gaps.get(whose)
    }
    folded = [table("Average gap and ToW (tug of war; 1 is exact), beside doing nothing and the null row", extra)]
    return Section(TITLE, text, [_rows(gaps)], _forest(own["metrics"], gaps), folded=folded)


def _settled(card: Json) -> str:
    margins = card["margins"]
    named = ", ".join(f"{metric} {points:g}" for metric, points in margins["points"].items())
    return (
        f"The margins ({named} points) were settled on {margins['settled']}, when evidence was first asked for; digest "
        f"{str(margins['digest'])[:12]}."
    )


def _rows(gaps: Json) -> Table:
    rows = []
    for name, gap in gaps["unlearned"]["metrics"].items():
        before = gaps["original"]["metrics"].get(name) if gaps.get("original") else None
        null = gap["null"]
        rows.append(
            [
                f"{name}: {SHEET[name].definition}" if name in SHEET else name,
                f"undefined: {gap['reason']}" if gap["value"] is None else value(gap["value"], gap),
                span(gap, gap),
                "–" if null is None else span(null, gap),
                p(gap["p"]),
                "–" if gap["margin"] is None else f"{gap['margin']:g}",
                p(gap["tost"]),
                gap["verdict"] if gap["margin"] is not None or gap["verdict"] == "undefined" else "no margin set",
                "–" if before is None else value(before["value"], before),
            ]
        )
    return Table("Unlearned minus retrained, in points; the last column is what doing nothing leaves", HEADS, rows)


def _forest(metrics: Json, gaps: Json) -> list[Plot]:
    rows = [
        plots.Row(
            name,
            gap["value"],
            gap["low"],
            gap["high"],
            None if gap["null"] is None else (gap["null"]["low"], gap["null"]["high"]),
            gap["margin"],
        )
        for name, gap in metrics.items()
        if gap["value"] is not None
    ]
    if not rows:
        return []
    before = gaps["original"]["metrics"] if gaps.get("original") else {}
    others = {"original": {name: gap["value"] for name, gap in before.items() if gap["value"] is not None}}
    drawing = plots.forest("Signed gaps to retraining", rows, others, x="points, unlearned minus retrained")
    text = (
        "Point and bar: the gap, its 95 % interval. Band: where an exact method would lie. Dashed: the margin. A bar "
        "within the margin is as good as retraining; a bar that leaves out 0 is not. Hollow square: doing nothing."
    )
    return [Plot(drawing, text)]
