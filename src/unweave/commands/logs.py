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
from unweave.modalities.texts.evaluation import Log, compared, read_log
from unweave.modalities.texts.evaluation.tokens import Compat

Json = dict[str, Any]


def main(files: Sequence[Path], compat: Compat, *, as_json: bool) -> None:
    """Prints every score that the logs can give; the second log is that of the retrained model.

    Args:
        files: the logs.
        compat: whose arithmetic; None for that of a published log, if there is one, and otherwise ours.
        as_json: JSON on stdout.

    Raises:
        ConfigurationError: more than two logs, no such log, or a published log whose values carry another arithmetic.
    """
    if len(files) > 2:
        raise ConfigurationError(
            f"--logs: expected one log, or a model's and then a retrained model's; found {len(files)}"
        )
    logs = [read_log(file, compat=compat) for file in files]
    theirs = compat or next((log.compat for log in logs if log.compat), None)
    logs = [
        log if log.compat == theirs else read_log(file, compat=theirs) for log, file in zip(logs, files, strict=True)
    ]
    if faults := [
        f"--compat {theirs}: expected values.jsonl, whose values are formed anew; {log.name} is a log of {log.compat}, "
        "whose values carry its own arithmetic"
        for log in logs
        if log.compat != theirs
    ]:
        raise ConfigurationError(faults)
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
