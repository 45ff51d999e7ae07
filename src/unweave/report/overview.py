"""Several runs on one page: those that were named, compared, or all below a folder and what of it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from unweave.audit.standing import said
from unweave.contract import ended
from unweave.errors import ConfigurationError
from unweave.modalities import MODALITIES
from unweave.report import contract, plots
from unweave.report.numbers import distance_unit, distances, in_full
from unweave.report.page import LIMITS, Page, Plot, Section, Table, Verdict, number
from unweave.report.run_page import Run, load, readable

DEPTH = 4  # folders below the one that was named
INSIDE = {"checkpoint", "model", "values"}  # parts of a run, which hold no runs
SEVERAL = (
    LIMITS[0],
    "Each row is one original and one unlearned model, unless evidence over several trainings was collected.",
    LIMITS[-1],
)
SAME = {
    "request": "request",
    "forget": "size of the forget set",
    "retain": "size of the retain set",
    "model_before": "original model",
}


_BESIDE = ("quote", "retrained")  # keys of an evaluation that change no score of a model


def compare(directories: list[Path], path: Path) -> Path:
    """Writes a page that shows several runs side by side.

    Raises:
        ConfigurationError: some of them are no finished runs; all faults at once.
    """
    runs, faults = {}, []
    for directory in directories:
        try:
            runs[directory.as_posix()] = read(directory)
        except ConfigurationError as error:
            faults += error.faults
    if len(directories) > len(runs) + len(faults):
        faults.append("expected different directories, found one of them twice")
    if faults:
        raise ConfigurationError(faults)
    page = Page(
        title=f"{len(runs)} runs compared",
        lead=f"A row each; the distance is the mean gap to a model retrained without the forget set, in {_unit(runs)}.",
        verdicts=_alike(runs),
        sections=[Section("Runs", tables=[table("The unlearned models", runs)], plots=_distances(runs))],
        limits=SEVERAL,
    )
    page.write(path)
    return path


def board(folder: Path) -> Path:
    """Writes a page that lists all runs below a folder, `board.html` in it.

    Raises:
        ConfigurationError: there is no such folder, or nothing of a run in it.
    """
    (runs, broken), others = runs_in(folder), others_in(folder)
    if not runs and not broken and not others:
        raise ConfigurationError(f"{folder}: expected directories of `unweave run` below it, found none")
    kept = [name for name, run in runs.items() if run.summary["contract"] and run.summary["status"] == "done"]
    against = [name for name, run in runs.items() if run.claim.against]
    verdicts = [
        Verdict("Runs", f"{len(runs)}, {len(kept)} of them kept a contract"),
        Verdict("Evidence against the result", ", ".join(against) or "none", "bad" if against else "plain"),
        Verdict("Not finished or damaged", str(len(broken)), "note" if broken else "plain"),
    ]
    sections = []
    if runs:
        sections.append(Section("Runs", tables=[table("A name leads to the run's page", runs, link=True)]))
    if others:
        listed = Table("A name leads to the page of all its runs", ["", "what"], list(others.items()), link=True)
        sections.append(Section("Sequences and demos", tables=[listed]))
    if broken:
        listed = Table("What cannot be shown, and why", ["folder", "reason"], list(broken.items()))
        sections.append(Section("Not finished or damaged", tables=[listed]))
    page = Page(f"Runs in {folder.name or folder}", f"All runs below {folder}.", verdicts, sections, limits=SEVERAL)
    page.write(folder / "board.html")
    return folder / "board.html"


def _alike(runs: Mapping[str, Run]) -> list[Verdict]:
    """Whether the runs answer the same request for the same model."""
    differ = [words for key, words in SAME.items() if len({str(run.summary[key]) for run in runs.values()}) > 1]
    if differ:
        text = f"they differ in {', '.join(differ)}: distances and scores are not of the same task"
        return [Verdict("Can they be compared?", text, "note")]
    asked = [_evaluation(run) for run in runs.values()]
    if other := sorted({key for each in asked for key in each if len({str(one.get(key)) for one in asked}) > 1}):
        text = f"they were evaluated otherwise ({', '.join(other)}): scores differ by that alone"
        return [Verdict("Can they be compared?", text, "note")]
    return [Verdict("Can they be compared?", "one request, one original model", "good")]


def _evaluation(run: Run) -> Mapping[str, Any]:
    """What a run's models were asked."""
    section = (yaml.safe_load(run.recipe) or {}).get("evaluation") or {}
    return {key: value for key, value in section.items() if key not in _BESIDE}


def _unit(runs: Mapping[str, Run]) -> str:
    return " and ".join(dict.fromkeys(distance_unit(run.scores) for run in runs.values()))


def _distances(runs: Mapping[str, Run]) -> list[Plot]:
    every = {name: distances(run.scores) for name, run in runs.items()}
    found = {name: each["unlearned"] for name, each in every.items() if "unlearned" in each}
    if not found:
        return []
    first = next(iter(every.values()))
    ends: dict[str, float] = {name: first[name] for name in ("original", "retrained again") if name in first}
    drawing = plots.bars("Distance to the retrained model", found, ends, x=_unit(runs))
    return [Plot(drawing, "Shorter is closer. Dashed: nothing done, and another retrained model, of the first run.")]


def table(caption: str, runs: Mapping[str, Run], *, link: bool = False) -> Table:
    """One row per run; columns of scores that no run has are left out.

    Args:
        caption: of the table.
        runs: by name; with `link`, the name is the run's folder, relative to the page.
        link: whether names lead to the runs' own pages.
    """
    every = (name for kind in MODALITIES.values() for name in kind.front.columns)
    held = [name for name in every if any(name in run.scores["models"]["unlearned"] for run in runs.values())]
    told = [said(name) for name in held]
    heads = ["", "state", "request", "method", "status", "contract", "distance", *told, "steps", "seconds", "created"]
    return Table(caption, heads, [_row(name, run, held) for name, run in runs.items()], link)


def _row(name: str, run: Run, held: list[str]) -> list[str]:
    summary, scores = run.summary, run.scores["models"]["unlearned"]
    why = f"{summary['status']}: {ended(summary['stop_reason'], summary['contract'])}"
    shown = [in_full(scores.get(each), short=True) for each in held]
    kept = (contract.told(summary["contract"]) or "kept") if summary["contract"] else "none"
    cost = [str(summary["steps"]), number(summary["seconds"], 1), summary["created"]]
    distance = in_full(run.scores["gaps"].get("unlearned", {}).get("average_gap"), short=True)
    return [name, run.first.words.head, summary["request"], summary["method"], why, kept, distance, *shown, *cost]


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
    kinds = {
        **{"sequence.json": "sequence of requests", "demo.json": "demo"},
        **{"demo_text.json": "demo on texts", "demo_drawn.json": "demo on drawn digits"},
    }
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
