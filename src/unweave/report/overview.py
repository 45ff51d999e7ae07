"""Several runs in one table, a row each; a folder of runs, and what of it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from unweave.contract import ended
from unweave.errors import ConfigurationError
from unweave.modalities import MODALITIES
from unweave.report import contract
from unweave.report.numbers import in_full
from unweave.report.page import Table, number
from unweave.report.run_page import Run, load, readable

DEPTH = 4  # folders below the one that was named
INSIDE = {"checkpoint", "model", "values"}  # parts of a run, which hold no runs


def table(caption: str, runs: Mapping[str, Run], *, link: bool = False) -> Table:
    """One row per run; columns of scores that no run has are left out.

    Args:
        caption: of the table.
        runs: by name; with `link`, the name is the run's folder, relative to the page.
        link: whether names lead to the runs' own pages.
    """
    every = (name for kind in MODALITIES.values() for name in kind.front.columns)
    held = [name for name in every if any(name in run.scores["models"]["unlearned"] for run in runs.values())]
    heads = ["", "request", "method", "status", "contract", "distance", *held, "claim", "steps", "seconds", "created"]
    return Table(caption, heads, [_row(name, run, held) for name, run in runs.items()], link)


def _row(name: str, run: Run, held: list[str]) -> list[str]:
    summary, scores = run.summary, run.scores["models"]["unlearned"]
    why = f"{summary['status']}: {ended(summary['stop_reason'], summary['contract'])}"
    shown = [in_full(scores.get(each), short=True) for each in held]
    cost = [str(summary["steps"]), number(summary["seconds"], 1), summary["created"]]
    distance = in_full(run.scores["gaps"].get("unlearned", {}).get("average_gap"), short=True)
    return [name, summary["request"], summary["method"], why, _kept(run), distance, *shown, _claim(run), *cost]


def _kept(run: Run) -> str:
    rows = run.summary["contract"]
    if not rows:
        return "none"
    return contract.told(rows) or "kept"


def _claim(run: Run) -> str:
    level = run.claim.level or "none"
    return f"{level}, refuted" if run.claim.against else level


def runs_in(folder: Path) -> tuple[dict[str, Run], dict[str, str]]:
    """Runs below a folder, by their path from it, and the folders that look like runs and cannot be read, with why.

    Raises:
        ConfigurationError: no such folder.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: expected a folder of runs, found none")
    found, broken = {}, {}
    for each in _folders(folder, DEPTH):
        name = each.relative_to(folder).as_posix()
        if (each / "summary.json").is_file():
            try:
                found[name] = read(each)
            except ConfigurationError as error:
                broken[name] = error.faults[0]
        elif (each / "steps.jsonl").is_file():
            broken[name] = f"not finished: unweave run --resume {each}"
    return found, broken


def others_in(folder: Path) -> dict[str, str]:
    """Folders with a page about several runs, by their path from the one that was named, and what they are."""
    kinds = {"sequence.json": "sequence of requests", "demo.json": "demo", "demo_text.json": "demo on texts"}
    return {
        each.relative_to(folder).as_posix(): what
        for each in _folders(folder, DEPTH)
        for name, what in kinds.items()
        if (each / name).is_file()
    }


def read(directory: Path) -> Run:
    """A finished run, checked for what a row of the table needs.

    Raises:
        ConfigurationError: it is none, or a file in it is damaged, or of another version.
    """
    if not (directory / "summary.json").is_file():
        raise ConfigurationError(f"{directory}: expected a directory of a finished run, found no summary.json in it")
    with readable(directory):
        run = load(directory)
        table("", {"": run})
    return run


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not each.is_symlink() and each.name not in INSIDE:
            yield each
            if depth > 1:
                yield from _folders(each, depth - 1)
