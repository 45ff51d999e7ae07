"""`unweave metrics`: what every score is, whatever its value."""

from __future__ import annotations

import json
import math

from rich.console import Console
from rich.table import Table

from unweave.audit.every_metric import EVERY, METRICS
from unweave.errors import ConfigurationError, suggest
from unweave.evaluation.metric import Metric
from unweave.report.numbers import RIGHT

_RIGHT = {**RIGHT, "as null": "as an exact method: away from its null level, both ways are wrong"}
_REPEATED = {
    "run": "trainings: the interval speaks of other trainings",
    "example": "examples: the interval speaks of other examples, for this model only",
    "prompt": "prompts: the interval speaks of other prompts, for this model only",
    "record": "coins of records: the interval speaks of other coins, for this model only",
}


def main(name: str | None, *, as_json: bool) -> None:
    """Prints every score with its direction, range and unit of replication, or one in full.

    Raises:
        ConfigurationError: there is no such score.
    """
    if name is not None and name not in METRICS:
        raise ConfigurationError(f"unknown score {name!r}.{suggest(name, METRICS)} `unweave metrics` lists them all.")
    console = Console(highlight=False)
    if as_json:
        print(json.dumps([METRICS[each].as_dict() for each in ([name] if name else METRICS)], indent=2))
    elif name:
        console.print(_one(METRICS[name]))
    else:
        for place, metrics in EVERY.items():
            made = Table(box=None, pad_edge=False)
            for column in (place, "right is", "range", "over"):
                made.add_column(column, overflow="fold")
            for metric in metrics.values():
                made.add_row(metric.name, RIGHT[metric.right], _range(metric), f"{metric.replicate}s")
            console.print(made)
            console.print()
        console.print("What it is, needs, when it is undefined, its null level: unweave metrics NAME", style="dim")


def _one(metric: Metric) -> Table:
    made = Table(metric.name, "", box=None, pad_edge=False)
    rows = {
        "in plain words": metric.plain,
        "what": metric.definition,
        "right": _RIGHT[metric.right],
        "range": f"{_range(metric)}, {metric.unit}",
        "repeated": _REPEATED[metric.replicate],
        "needs": metric.needs,
        "undefined": metric.undefined_when,
        "null level": metric.exact or "depends on the sizes; stands beside the score",
        "source": metric.source,
    }
    for title, text in rows.items():
        if text:
            made.add_row(title, text)
    return made


def _range(metric: Metric) -> str:
    low, high = metric.limits
    if math.isinf(high):
        return "any number" if math.isinf(low) else f"{low:g} and more"
    return f"{low:g} to {high:g}"
