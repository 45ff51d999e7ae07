"""Pages about several runs: the ones that were named, compared, and all below a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unweave.errors import ConfigurationError
from unweave.report import overview, plots
from unweave.report.numbers import distance_unit, distances
from unweave.report.page import LIMITS, Page, Plot, Section, Table, Verdict
from unweave.report.run_page import Run

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


def compare(directories: list[Path]) -> Page:
    """Runs side by side.

    Raises:
        ConfigurationError: some of them are no finished runs; all faults at once.
    """
    runs, faults = {}, []
    for directory in directories:
        try:
            runs[directory.as_posix()] = overview.read(directory)
        except ConfigurationError as error:
            faults += error.faults
    if len(directories) > len(runs) + len(faults):
        faults.append("expected different directories, found one of them twice")
    if faults:
        raise ConfigurationError(faults)
    return Page(
        title=f"{len(runs)} runs compared",
        lead=f"A row each; the distance is the mean gap to a model retrained without the forget set, in {_unit(runs)}.",
        verdicts=_alike(runs),
        sections=[Section("Runs", tables=[overview.table("The unlearned models", runs)], plots=_distances(runs))],
        limits=SEVERAL,
    )


def board(folder: Path) -> Page:
    """All runs below a folder.

    Raises:
        ConfigurationError: there is no such folder, or nothing of a run in it.
    """
    (runs, broken), others = overview.runs_in(folder), overview.others_in(folder)
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
        sections.append(Section("Runs", tables=[overview.table("A name leads to the run's page", runs, link=True)]))
    if others:
        table = Table("A name leads to the page of all its runs", ["", "what"], list(others.items()), link=True)
        sections.append(Section("Sequences and demos", tables=[table]))
    if broken:
        table = Table("What cannot be shown, and why", ["folder", "reason"], list(broken.items()))
        sections.append(Section("Not finished or damaged", tables=[table]))
    return Page(f"Runs in {folder.name or folder}", f"All runs below {folder}.", verdicts, sections, limits=SEVERAL)


def _alike(runs: Mapping[str, Run]) -> list[Verdict]:
    """Whether the runs answer the same request for the same model."""
    differ = [words for key, words in SAME.items() if len({str(run.summary[key]) for run in runs.values()}) > 1]
    if differ:
        text = f"they differ in {', '.join(differ)}: distances and scores are not of the same task"
        return [Verdict("Can they be compared?", text, "note")]
    return [Verdict("Can they be compared?", "one request, one original model", "good")]


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
