"""`unweave evaluate --logs`: the sheet of a text model from its values per example, alone or against another's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unweave.commands.metrics import RIGHT
from unweave.errors import ConfigurationError
from unweave.evaluation.text import Log, compared, read_log

Json = dict[str, Any]


def main(files: Sequence[Path], *, as_json: bool) -> None:
    """Prints every score that the logs can give; the second log is that of the retrained model."""
    if len(files) > 2:
        raise ConfigurationError(
            f"--logs: expected one log, or a model's and then a retrained model's; found {len(files)}"
        )
    logs = [read_log(file) for file in files]
    compat = next((log.compat for log in logs if log.compat), None)
    logs = [
        log if log.compat == compat else read_log(file, compat=compat) for log, file in zip(logs, files, strict=True)
    ]
    found = compared(logs[0], logs[1] if len(logs) == 2 else None)
    if not found["metrics"]:
        raise ConfigurationError(f"{files[0]}: there is no value in it that any metric reads")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    console = Console(highlight=False)
    console.print(_table(found, len(logs)))
    for note in _notes(logs, found):
        console.print(Text(note))


def _table(found: Json, logs: int) -> Table:
    made = Table(box=None, pad_edge=False)
    for column in ("", "n", *("model", "retrained", "difference", "right is")[: 1 if logs == 1 else 4]):
        made.add_column(column, overflow="fold", justify="left" if column in ("", "right is") else "right")
    if logs == 1:
        made.add_column("95 % of samples", overflow="fold")
    for name, row in found["metrics"].items():
        unit = row["metric"]["unit"]
        n = str(max(score["n"] for score in (row["model"], row["retrained"]) if score))
        cells = [name, n, _number(row["model"], unit)]
        if logs == 1:
            cells.append(_interval(row["model"], unit))
        else:
            difference = row["difference"]
            cells.append(_number(row["retrained"], unit))
            cells.append("" if difference is None else _plain(difference, unit, sign=True))
            cells.append(RIGHT[row["metric"]["right"]])
        made.add_row(*(Text(cell) for cell in cells))
    return made


def _notes(logs: Sequence[Log], found: Json) -> list[str]:
    notes = [f"{log.name}: {note}" for log in logs for note in log.notes]
    reasons: dict[str, list[str]] = {}
    for name, row in found["metrics"].items():
        if row["model"] and row["model"]["value"] is None:
            reasons.setdefault(row["model"]["reason"], []).append(name)
    notes += [f"{', '.join(names)}: undefined. {reason}" for reason, names in reasons.items()]
    if logs[0].compat:
        notes.append(f"Formed as {logs[0].compat} does, its known faults included (docs/evaluation-text.md).")
    return notes


def _number(score: Json | None, unit: str) -> str:
    return "–" if score is None or score["value"] is None else _plain(score["value"], unit)


def _plain(value: float, unit: str, *, sign: bool = False) -> str:
    places = 2 if unit == "points" else 4
    if value and abs(value) < 10**-places:
        return f"{value:+.2e}" if sign else f"{value:.2e}"
    return f"{value:+.{places}f}" if sign else f"{value:.{places}f}"


def _interval(score: Json | None, unit: str) -> str:
    if score is None or score["low"] is None:
        return ""
    return f"[{_plain(score['low'], unit)}, {_plain(score['high'], unit)}]"
