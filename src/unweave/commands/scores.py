"""The table of scores, as it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from unweave.report.run_page import ORDER, score_text


def table(scores: Mapping[str, Any]) -> Table:
    """One row per score, one column per model, and the distances to the retrained one last; intervals are in the page.

    Args:
        scores: of `scores.json`.
    """
    models = [name for name in ORDER if name in scores["models"]]
    made = Table(box=None, pad_edge=False)
    for column in ("", *models):
        made.add_column(column, overflow="fold")
    for metric in scores["models"][models[0]]:
        made.add_row(metric, *(Text(score_text(scores["models"][model].get(metric), short=True)) for model in models))
    if scores["gaps"]:
        gaps = (scores["gaps"].get(model, {}).get("average_gap") for model in models)
        made.add_row("distance", *(Text("0" if g is None else f"{score_text(g)} points") for g in gaps))
    return made
