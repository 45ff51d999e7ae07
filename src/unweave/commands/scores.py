"""The table of scores, as it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from unweave.report.scores import ORDER, score_text


def attacked(found: Mapping[str, Any]) -> Table:
    """The attacks on one model: each AUC with its interval, what an exact method scores, and the examples that entered.

    Args:
        found: evidence by attack, as `as_dict` gives it.
    """
    made = Table(box=None, pad_edge=False)
    for column in ("AUC, forget against holdout", "value", "95 % interval", "null band", "p", "n"):
        made.add_column(column, overflow="fold")
    for name, each in found.items():
        if each["value"] is None:
            made.add_row(name, f"undefined: {each['reason']}")
            continue
        null, n = each["null"], (each["sizes"]["forget examples"], each["sizes"]["holdout examples"])
        made.add_row(
            name,
            f"{each['value']:.3f}",
            f"{each['low']:.3f} to {each['high']:.3f}",
            f"{null['low']:.3f} to {null['high']:.3f}",
            f"{each['p']:.2g}",
            f"{n[0]} and {n[1]}",
        )
    return made


def table(scores: Mapping[str, Any]) -> Table:
    """One row per score, one column per model, and the distances to the retrained one last.

    A model alone has its intervals and sizes beside its scores; several have them in the page.

    Args:
        scores: of `scores.json`.
    """
    models = [name for name in ORDER if name in scores["models"]]
    made = Table(box=None, pad_edge=False)
    alone = len(models) == 1
    for column in ("", *models, *(["n"] if alone else [])):
        made.add_column(column, overflow="fold")
    for metric, first in scores["models"][models[0]].items():
        cells = [Text(score_text(scores["models"][model].get(metric), short=not alone)) for model in models]
        made.add_row(metric, *cells, *([str(first["n"])] if alone else []))
    if scores["gaps"]:
        gaps = (scores["gaps"].get(model, {}).get("average_gap") for model in models)
        made.add_row("distance", *(Text("0" if g is None else f"{score_text(g)} points") for g in gaps))
    return made
