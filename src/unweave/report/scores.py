"""Scores as text and tables: what `scores.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unweave.report.page import Table

Json = Mapping[str, Any]
ORDER = ("original", "unlearned", "retrained", "retrained again")


def score_text(score: Json | None, *, short: bool = False) -> str:
    """A score with its interval, shares as percentages; if there is no value, the reason (a dash if short)."""
    if score is None or (short and score["value"] is None):
        return "–"
    if score["value"] is None:
        return f"undefined: {score['reason']}"
    share = score["unit"] == "share"
    factor, places = (100, 1) if share else (1, 1 if score["unit"] == "points" else 3)
    text = f"{factor * score['value']:.{places}f}{' %' if share else ''}"
    if short or score["low"] is None:
        return text
    return f"{text} [{factor * score['low']:.{places}f}, {factor * score['high']:.{places}f}]"


def models_of(scores: Json) -> list[str]:
    """The models that were scored, in the order of every page."""
    return [name for name in ORDER if name in scores["models"]]


def value_of(scores: Json, model: str, metric: str) -> float | None:
    """A model's score; None where there is none."""
    found = scores["models"].get(model, {}).get(metric)
    return None if found is None else found["value"]


def table(scores: Json) -> Table:
    """Every score of every model."""
    models = models_of(scores)
    names = list(dict.fromkeys(name for model in models for name in scores["models"][model]))
    rows = []
    for name in names:
        cells = [scores["models"][model].get(name) for model in models]
        known = next(cell for cell in cells if cell)
        rows.append([name, *map(score_text, cells), str(known["n"]), known["definition"]])
    return Table("Each score with its 95 % interval over examples", ["", *models, "n", "definition"], rows)


def gap_tables(scores: Json) -> list[Table]:
    """The gaps to the retrained model, where there is one."""
    models = [name for name in ORDER if name in scores["gaps"]]
    if not models:
        return []
    rows = [
        [metric, *(score_text(scores["gaps"][m].get(metric)) for m in models)] for metric in scores["gaps"][models[0]]
    ]
    unit = distance_unit(scores)
    what = "Points of difference" if unit == "points" else f"Difference, {unit},"
    caption = f"{what} to the retrained model; the original's is what doing nothing leaves"
    if "retrained again" in models:
        caption += ", a second retrained model's is chance"
    return [Table(caption, ["", *models], rows)]


def distance_unit(scores: Json) -> str:
    """Of the average gap to the retrained model."""
    return next((gaps["average_gap"]["unit"] for gaps in scores["gaps"].values() if "average_gap" in gaps), "points")


def distances(scores: Json) -> dict[str, float]:
    """Average gap to the retrained model, of the models that have one."""
    found = {name: gaps.get("average_gap") for name, gaps in scores["gaps"].items()}
    return {name: gap["value"] for name, gap in found.items() if gap is not None and gap["value"] is not None}
