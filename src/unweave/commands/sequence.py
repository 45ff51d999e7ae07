"""`unweave run` with several requests: a table of them, what later ones undid, and when it is time to retrain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unweave.commands.contract import promise, word
from unweave.commands.progress import speaking
from unweave.contract import state_of
from unweave.evaluation.figures import plain
from unweave.recipe.recipe import Recipe
from unweave.report.build import build
from unweave.report.run_page import readable
from unweave.run import sequence
from unweave.watch import watching

_MISSED, _INTERRUPTED = 3, 130
_STILL = {"met": "yes", "missed": "no", "undecided": "not shown"}


def main(recipe: Recipe, folder: Path, *, resume: bool, overwrite: bool, as_json: bool) -> int:
    """Runs a recipe's requests in order.

    The exit code is 0 if every contract is met and nothing regressed, 3 if one is missed or not decided,
    130 if the sequence was interrupted.
    """
    if (done := sequence.finished(folder) if resume else None) is not None:
        with readable(folder):
            return _tell(done, folder, build(folder), as_json=as_json)
    told = partial(promise, as_json=as_json)
    with watching() as watch, speaking():
        done = sequence.run(recipe, folder, resume=resume, overwrite=overwrite, watch=watch, promise=told)
    return _tell(done, folder, build(folder), as_json=as_json)


def _tell(done: Mapping[str, Any], folder: Path, page: Path, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"directory": str(folder), "sequence": done}, indent=2))
    else:
        console = Console(highlight=False)
        console.print(_table(done))
        for note in _read(done, folder):
            console.print(note, style="dim", markup=False, soft_wrap=True)
        if done["regressions"]:
            console.print(f"regressed: {', '.join(done['regressions'])}", style="bold red", markup=False)
        if done["status"] != "done":
            console.print(f"interrupted: continue with  unweave run --resume {folder}", markup=False, soft_wrap=True)
        console.print(done["advice"], markup=False)
        console.print(f"report: {page}", markup=False, soft_wrap=True)
    if done["status"] != "done":
        return _INTERRUPTED
    return 0 if all(entry["met"] for entry in done["requests"]) and not done["regressions"] else _MISSED


def _read(done: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """What the two verdicts of the table rest on: n, limit and bound of what was read last."""
    if not done["requests"]:
        return
    last = done["requests"][-1]
    yield (
        f"budget left: of what the keep clauses allow, by their upper bounds on {last['guard']} guard examples that no "
        "step trained on; 100 % is what a model that lost nothing leaves"
    )
    for test in last["retests"]:
        told = (f"{c['clause']}: {plain(c['measured'])}, n {c['n']}" for c in test["clauses"])
        yield f"still forgotten, {test['id']}: {'; '.join(told)}"
    yield (
        "A clause is read on the whole forget set, and has no interval. Every score with its interval, and what "
        f"retraining scores if that was asked for: unweave report {folder / last['directory']}"
    )


def _table(done: Mapping[str, Any]) -> Table:
    made = Table(box=None, pad_edge=False)
    for column in ("request", "what", "n", "steps", "s", "contract", "budget left", "still forgotten", "ended"):
        made.add_column(column, overflow="fold")
    last = {test["id"]: test for test in done["requests"][-1]["retests"]} if done["requests"] else {}
    for entry in done["requests"]:
        test = last.get(entry["id"])
        still = "" if test is None else "REGRESSED" if test["regressed"] else _STILL[state_of(test)]
        made.add_row(
            Text(entry["id"]),
            Text(entry["text"]),
            str(entry["forget"]),
            str(entry["steps"]),
            f"{entry['seconds']:.1f}",
            word(state_of(entry)),
            f"{100 * entry['left']:.0f} %",
            Text(still, style="bold red" if still == "REGRESSED" else ""),
            Text(entry["reason"]),
        )
    return made
