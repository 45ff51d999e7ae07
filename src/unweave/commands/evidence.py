"""`unweave evidence`: several trainings, every attack, one claim."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console, Group

from unweave import devices, ranks
from unweave.audit.collect import FILE, evidence
from unweave.audit.experiment import KINDS
from unweave.audit.shared import WORKERS
from unweave.audit.work import cores
from unweave.commands import cluster as clusters
from unweave.commands.progress import say, speaking
from unweave.commands.tables import evidence_table
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.evaluation.figures import plain
from unweave.modalities import read
from unweave.recipe.recipe import Recipe
from unweave.report.numbers import NO_TEST, Columns, Json
from unweave.watch import watching

_REFUTED, _INTERRUPTED = 3, 130


def main(
    path: Path,
    overrides: Sequence[str],
    output: Path | None,
    *,
    references: Sequence[Path],
    workers: int | None,
    cluster: str | None,
    few: bool,
    as_json: bool,
) -> int:
    """Collects the evidence about a recipe's models, or about a finished run's own and others like it; and prints it.

    The exit code is 3 if anything speaks against the method, 130 if it was interrupted, otherwise 0.

    Raises:
        ConfigurationError: the recipe's faults, and those of the directory and of the references.
    """
    file = path / "recipe.yaml" if path.is_dir() else path
    if not file.is_file():
        raise ConfigurationError(f"{path}: expected a recipe, or a run directory that holds one")
    recipe = read(file, overrides)
    if recipe.requests and not path.is_dir():
        raise ConfigurationError("evidence is about one request: give a recipe with 'forget', not with 'requests'")
    if cluster is not None and workers is not None:
        raise ConfigurationError("evidence: --workers are processes of this machine, --cluster has workers of its own")
    if ranks.several() and (cluster is not None or workers is not None):
        raise UnsupportedError(WORKERS)
    folder = output or (path if path.is_dir() else recipe.output or path.parent / "runs" / path.stem)
    try:
        with ExitStack() as open_:
            there = open_.enter_context(clusters.cluster(cluster)) if cluster is not None else None
            executor, many = (None, workers or _usual(recipe)) if there is None else there
            watch, _ = open_.enter_context(watching()), open_.enter_context(speaking())
            found = evidence(
                recipe,
                folder,
                run=path if path.is_dir() else None,
                workers=many,
                executor=executor,
                references=references,
                few=few,
                watch=watch,
                promise=lambda estimated: say(str(estimated)),
            )
    except KeyboardInterrupt:
        print("interrupted: what was made is kept; the same command goes on from there", file=sys.stderr)
        return _INTERRUPTED

    def tell() -> int:
        if as_json:
            print(json.dumps(found, indent=2))
        else:
            _tell(found, folder)
        return _REFUTED if found["claim"]["refuted"] else 0

    return ranks.first(tell)


def _usual(recipe: Recipe) -> int:
    """Worker processes where nobody says how many: one a core, or one where an accelerator or several ranks compute."""
    elsewhere = devices.chosen(recipe.run.device).type != "cpu"
    return 1 if elsewhere or ranks.several() else cores()


def _tell(found: Json, folder: Path) -> None:
    console = Console(highlight=False)

    def line(text: str, style: str = "") -> None:
        console.print(text, markup=False, style=style, soft_wrap=True)

    runs = found["runs"]
    line(f"{runs['original']} original, {runs['retrained']} retrained, {runs['unlearned']} unlearned models")
    for part in (gaps(found), attacks(found), over_runs(found), robustness(found)):
        console.print(part)
        console.print()
    claim = found["claim"]
    line(f"claim {claim['level'] or 'none'}: {claim['text']}", style="bold")
    for title, sentences in (("against", claim["against"]), ("missing for the next rung", claim["missing"])):
        for sentence in sentences:
            line(f"  {title}: {sentence}")
    for note in found["notes"]:
        line(f"note: {note}")
    line(f"evidence: {folder / FILE}")


def gaps(found: Json) -> Group:
    """The gaps to retraining over runs, each with its interval, the null band and what follows from the margin."""
    rows = {}
    for kind in ("original", "unlearned"):
        part = found["gaps"][kind]
        each = {**part["metrics"], "average": part["average_gap"], "ToW": part["ToW"]}
        rows[kind] = {name: {**gap, "sizes": _of_runs(gap["sizes"])} for name, gap in each.items()}
    ordered = {f"{name}, {kind}": rows[kind][name] for name in rows["unlearned"] for kind in rows}
    margin: Columns = {"margin": lambda gap: plain(gap.get("margin")), "": lambda gap: str(gap.get("verdict", ""))}
    return evidence_table("gap, points", ordered, {**NO_TEST, **margin})


def attacks(found: Json) -> Group:
    """The AUC of every attack on the first model of each kind, and how far the unlearned one is from the retrained."""
    rows, lacking = {"blind, no model": found["attacks"]["blind"]}, {}
    for name, triple in found["attacks"]["triple"].items():
        if "reason" in triple:
            lacking[name] = triple["reason"]
            continue
        rows |= {f"{name}, {kind}": triple["models"][kind]["auc"] for kind in KINDS}
        rows[f"{name}, difference"] = triple["above_retrained"]
    return evidence_table("attack's AUC", rows, lacking=lacking)


def over_runs(found: Json) -> Group:
    """What two populations of models say, over examples and as a whole."""
    over, rows, lacking = found["over_runs"], {}, {}
    for side, title in (("forget", "worst decile of |T|"), ("retain", "... of retain records")):
        if "reason" in (part := found["per_example"][side]):
            lacking[title] = part["reason"]
        else:
            rows[title] = part["overall"]["worst_decile"]
    rows |= {"KLoM": over["klom"]["forget"], "KLoM, retain": over["klom"]["retain"]}
    rows |= {"forgetting score": over["forgetting_score"]}
    rows |= {f"epsilon, at most {over['epsilon']['ceiling']:.2f}": over["epsilon"]}
    shadows = {"auc": "U-LiRA AUC", "worst": "U-LiRA, worst decile", "tail": "U-LiRA, TPR at 1 %"}
    if "reason" in over["u_lira"]:
        lacking["U-LiRA"] = over["u_lira"]["reason"]
    else:
        rows |= {title: over["u_lira"][part] for part, title in shadows.items()}
    return evidence_table("over models", rows, lacking=lacking)


def robustness(found: Json) -> Group:
    """The share of what the original had that relearning and low precision bring back."""
    brought = found["robustness"]
    rows = {f"relearning, {each['source']}": each["recovered"] for each in brought["relearning"]}
    rows |= {f"precision, {e['precision']}": e["recovered"] for e in brought["precision"] if e["unchanged"] is not None}
    return evidence_table("recovered share", {name: each for name, each in rows.items() if each is not None})


def _of_runs(sizes: Mapping[str, int]) -> dict[str, int]:
    """The first number is of the models in question, which here are the original ones, too."""
    return dict(zip(("runs", "retrained runs"), sizes.values(), strict=True))
