"""`unweave run`: one recipe, one run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from unweave.commands.progress import watching
from unweave.commands.scores import table
from unweave.report.build import build
from unweave.run.recipe import read
from unweave.run.runner import run


def main(
    path: Path, overrides: Sequence[str], output: Path | None, *, resume: bool, overwrite: bool, as_json: bool
) -> int:
    """Runs the recipe; the exit code is 0 if it went to its end and changed something."""
    recipe = read(path, overrides)
    folder = output or recipe.output or path.parent / "runs" / path.stem
    with watching() as watch:
        summary = run(recipe, folder, resume=resume, overwrite=overwrite, watch=watch)
    page = build(folder)
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    if as_json:
        print(json.dumps({"directory": str(folder), "summary": summary, "scores": scores}, indent=2))
    else:
        _tell(summary, scores, page)
    return 0 if summary["status"] == "done" else 1


def _tell(summary: Mapping[str, Any], scores: Mapping[str, Any], page: Path) -> None:
    console = Console(highlight=False)
    console.print(table(scores))
    effort = f"{summary['steps']} steps, {summary['seconds']:.1f} s"
    why = "continue with --resume" if summary["status"] == "interrupted" else summary["stop_reason"]
    console.print(f"{summary['status']} after {effort}: {why}", markup=False, soft_wrap=True)
    for warning in summary["warnings"]:
        console.print(warning, style="bold red", markup=False)
    console.print(f"report: {page}", markup=False, soft_wrap=True)
