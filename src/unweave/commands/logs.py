"""`unweave evaluate --logs`: the sheet of a model from its values per example, alone or against another's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from unweave.commands.tables import score_table
from unweave.modalities import MODALITIES

Json = dict[str, Any]


def main(files: Sequence[Path], compat: str | None, *, as_json: bool) -> None:
    """Prints every score that the logs can give; the second log is that of the retrained model.

    Args:
        files: the logs.
        compat: whose arithmetic; None for that of a published log, if there is one, and otherwise ours.
        as_json: JSON on stdout.

    Raises:
        ConfigurationError: more than two logs, no such log, or a published log whose values carry another arithmetic.
    """
    read = next(kind.logs for kind in MODALITIES.values() if kind.logs is not None)
    found = read(files, compat)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    sides = ("model", "retrained") if len(found["logs"]) == 2 else ("model",)
    sheets = {side: {name: row[side] for name, row in found["metrics"].items() if row[side]} for side in sides}
    console = Console(highlight=False)
    console.print(score_table(sheets, {}))
    for note in _notes(found["logs"]):
        console.print(Text(note))


def _notes(logs: Sequence[Json]) -> list[str]:
    notes = [f"{log['name']}: {note}" for log in logs for note in log["notes"]]
    if logs[0]["compat"]:
        notes.append(f"Formed as {logs[0]['compat']} does, its known faults included (docs/evaluation-text.md).")
    return notes
