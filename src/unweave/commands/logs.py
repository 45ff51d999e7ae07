"""`unweave evaluate --logs`: the sheet of a text model from its values per example, alone or against another's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.text import Text

from unweave.commands.scores import score_table
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
    console.print(_table(found))
    for note in _notes(logs):
        console.print(Text(note))


def _table(found: Json) -> Group:
    sides = ("model", "retrained") if len(found["logs"]) == 2 else ("model",)
    sheets = {side: {name: row[side] for name, row in found["metrics"].items() if row[side]} for side in sides}
    return score_table(sheets, {})


def _notes(logs: Sequence[Log]) -> list[str]:
    notes = [f"{log.name}: {note}" for log in logs for note in log.notes]
    if logs[0].compat:
        notes.append(f"Formed as {logs[0].compat} does, its known faults included (docs/evaluation-text.md).")
    return notes
