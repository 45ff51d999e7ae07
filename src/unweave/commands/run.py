"""`unweave run`: one recipe, one run directory."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from unweave import modalities, ranks
from unweave.commands import sequence
from unweave.commands.contract import kept, promise
from unweave.commands.progress import say, speaking
from unweave.commands.tables import scores_of
from unweave.contract import ended, headline, overall
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.execution import world
from unweave.modalities import read
from unweave.recipe.recipe import Recipe
from unweave.report.build import build
from unweave.report.run_page import readable
from unweave.run import directory, seal
from unweave.run.interrupt import REASON
from unweave.run.runner import carry_out, forgot_before
from unweave.run.steps_log import counted
from unweave.watch import watching

_MISSED = 3  # done, and the best state that kept the contract was saved, but a clause is missed, or not shown to be met
_INTERRUPTED = 130  # as a shell says it of a command that Ctrl-C ended


def main(
    path: Path,
    overrides: Sequence[str],
    output: Path | None,
    *,
    resume: bool,
    overwrite: bool,
    everything: bool = False,
    as_json: bool,
) -> int:
    """Runs the recipe (a file, or that of a run directory).

    The exit code is 0 if the run went to its end and met its contract (or did something, without one), 3 if a clause is
    missed or could not be decided, 130 if it was interrupted, 1 for any other end.

    Raises:
        ConfigurationError: the recipe's faults, and those of the directory.
    """
    recipe = read(_recipe_of(path), overrides)
    folder = output or (path if path.is_dir() else recipe.output or path.parent / "runs" / path.stem)
    if recipe.requests:
        if world() > 1:
            raise UnsupportedError(
                f"{path}: several requests run in one process, and {world()} were started: start it without torchrun, "
                "or give each request a recipe of its own."
            )
        return sequence.main(recipe, folder, resume=resume, overwrite=overwrite, as_json=as_json)
    with directory.claimed(folder):
        return _single(recipe, folder, resume=resume, overwrite=overwrite, everything=everything, as_json=as_json)


def _single(recipe: Recipe, folder: Path, *, resume: bool, overwrite: bool, everything: bool, as_json: bool) -> int:
    finished = ranks.first(lambda: _checked(folder, resume, overwrite))
    job = modalities.job(recipe)
    if (needed := job.memory()) is not None and not finished:
        say(needed)
    for text in forgot_before(recipe):
        say(text, style="bold red")
    told = partial(promise, as_json=as_json)
    try:
        with watching() as watch, speaking():
            summary = carry_out(recipe, job, folder, resume=resume, watch=watch, promise=told)
    except KeyboardInterrupt:
        begun = (folder / "recipe.yaml").is_file()
        how = f"continue with  unweave run --resume {folder}" if begun else "the same command begins again"
        print(f"interrupted: {how}", file=sys.stderr)
        return _INTERRUPTED
    if finished:
        print(f"{folder}: this run is finished, there is nothing left to do", file=sys.stderr)
        if seal.KEY not in summary:
            print("an earlier version wrote it: without hashes its files are taken as they are", file=sys.stderr)

    def tell() -> int:
        with readable(folder) if finished else nullcontext():
            return _told(summary, folder, finished, everything=everything, as_json=as_json)

    return ranks.first(tell)


def _checked(folder: Path, resume: bool, overwrite: bool) -> bool:
    """Whether what is resumed is finished."""
    finished = resume and directory.finished(folder) is not None
    directory.check(folder, resume, overwrite)
    return finished


def _told(summary: Mapping[str, Any], folder: Path, finished: bool, *, everything: bool, as_json: bool) -> int:
    for text in summary["warnings"]:
        say(text, style="bold red")
    page = folder / "report.html" if finished and (folder / "report.html").exists() else build(folder)
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    if as_json:
        print(json.dumps({"directory": str(folder), "summary": summary, "scores": scores}, indent=2))
    else:
        _tell(summary, scores, page, everything)
    missed = overall(summary["contract"]) != "met"
    if summary["status"] == REASON:
        return _INTERRUPTED
    return (_MISSED if missed else 0) if summary["status"] == "done" else 1


def _recipe_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    if not (path / "recipe.yaml").is_file():
        raise ConfigurationError(
            f"{path} holds no recipe.yaml: it is no run directory, or its run was ended before it began. "
            "Give the recipe's file."
        )
    return path / "recipe.yaml"


def _tell(summary: Mapping[str, Any], scores: Mapping[str, Any], page: Path, everything: bool) -> None:
    console = Console(highlight=False)
    console.print(scores_of(scores, everything=everything))
    if summary["contract"]:
        console.print(kept(summary["contract"], summary["contract_reading"]))
    effort = f"{counted(summary['steps'], 'step', 'steps')}, {summary['seconds']:.1f} s"
    why = ended(summary["stop_reason"], summary["contract"])
    if summary["status"] == "interrupted":
        why = "continue with --resume"
    elif summary["contract"] and (told := headline(summary["contract"])) != why:
        console.print(told, style="bold red" if overall(summary["contract"]) != "met" else "bold", markup=False)
    console.print(f"{summary['status']} after {effort}: {why}", markup=False, soft_wrap=True)
    console.print(f"report: {page}", markup=False, soft_wrap=True)
