"""`unweave evidence`: several trainings, every attack, one claim."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unweave.commands.progress import say, speaking, watching
from unweave.errors import ConfigurationError
from unweave.run.evidence.collect import FILE, evidence
from unweave.run.evidence.work import cores
from unweave.run.recipe import read

_REFUTED, _INTERRUPTED = 3, 130
_VERDICTS = {"equivalent": "equivalent", "different": "different", "undecided": "undecided"}


def main(
    path: Path,
    overrides: Sequence[str],
    output: Path | None,
    *,
    references: Sequence[Path],
    workers: int | None,
    as_json: bool,
) -> int:
    """Collects the evidence of a recipe (a file, or that of a run directory) and prints it.

    The exit code is 3 if anything speaks against the method, 130 if it was interrupted, otherwise 0.

    Raises:
        ConfigurationError: the recipe's faults, and those of the directory and of the references.
    """
    file = path / "recipe.yaml" if path.is_dir() else path
    if not file.is_file():
        raise ConfigurationError(f"{path}: expected a recipe, or a run directory that holds one")
    recipe = read(file, overrides)
    if recipe.requests:
        raise ConfigurationError("evidence is about one request: give a recipe with 'forget', not with 'requests'")
    folder = output or (path if path.is_dir() else recipe.output or path.parent / "runs" / path.stem)
    try:
        with watching() as watch, speaking():
            found = evidence(
                recipe,
                folder,
                workers=workers or cores(),
                references=references,
                watch=watch,
                promise=lambda estimated: say(str(estimated)),
            )
    except KeyboardInterrupt:
        print("interrupted: what was made is kept; the same command goes on from there", file=sys.stderr)
        return _INTERRUPTED
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _tell(found, folder)
    return _REFUTED if found["claim"]["refuted"] else 0


def _tell(found: Mapping[str, Any], folder: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    runs = found["runs"]
    console.print(f"{runs['original']} original, {runs['retrained']} retrained, {runs['unlearned']} unlearned models")
    console.print(gaps(found))
    console.print(attacks(found))
    claim = found["claim"]
    console.print(f"claim {claim['level'] or 'none'}: {claim['text']}", markup=False, style="bold")
    for title, sentences in (("against", claim["against"]), ("missing for the next rung", claim["missing"])):
        for sentence in sentences:
            console.print(f"  {title}: {sentence}", markup=False)
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False)
    console.print(f"evidence: {folder / FILE}", markup=False)


def gaps(found: Mapping[str, Any]) -> Table:
    """The gaps to retraining over runs, each with its interval, the null band and what follows from the margin."""
    table = Table(box=None, pad_edge=False)
    for column in ("gap, points", "original", "unlearned", "95 % interval", "null band", "margin", ""):
        table.add_column(column, overflow="fold")
    rows = found["gaps"]["unlearned"]
    before = found["gaps"]["original"]
    for name, gap in {**rows["metrics"], "average": rows["average_gap"], "ToW": rows["ToW"]}.items():
        old = {**before["metrics"], "average": before["average_gap"], "ToW": before["ToW"]}[name]
        margin = "" if gap.get("margin") is None else f"{gap['margin']:g}"
        verdict = _VERDICTS.get(gap.get("verdict", ""), "") or gap["reason"]
        table.add_row(name, _number(old["value"]), _number(gap["value"]), _range(gap), _band(gap), margin, verdict)
    return table


def attacks(found: Mapping[str, Any]) -> Table:
    """The attacks on the triple, and what relearning and low precision bring back."""
    table = Table(box=None, pad_edge=False)
    for column in ("attack", "original", "retrained", "unlearned", "95 % interval", "null band", "p"):
        table.add_column(column, overflow="fold")
    blind = found["attacks"]["blind"]
    table.add_row("AUC, blind (no model)", "", "", _number(blind["value"]), _range(blind), _band(blind), _p(blind))
    for name, triple in found["attacks"]["triple"].items():
        if "reason" in triple:
            table.add_row(f"AUC, {name}", "", "", "-", triple["reason"])
            continue
        each = [triple["models"][kind]["auc"] for kind in ("original", "retrained", "unlearned")]
        values = [_number(auc["value"]) for auc in each]
        table.add_row(f"AUC, {name}", *values, _range(each[-1]), _band(each[-1]), _p(each[-1]))
    over = found["over_runs"]
    rows = {
        "worst decile of |T|": found["per_example"]["forget"].get("overall", {}).get("worst_decile"),
        "... of retain records": found["per_example"]["retain"].get("overall", {}).get("worst_decile"),
        "KLoM": over["klom"]["forget"],
        "forgetting score": over["forgetting_score"],
        f"epsilon (ceiling {over['epsilon']['ceiling']:.2f})": over["epsilon"],
        "U-LiRA AUC": over["u_lira"].get("auc"),
    }
    brought = found["robustness"]
    rows |= {f"relearning, {each['source']}": each["recovered"] for each in brought["relearning"]}
    rows |= {f"precision, {e['precision']}": e["recovered"] for e in brought["precision"] if e["unchanged"] is not None}
    for name, each in rows.items():
        if each is not None:
            value = _number(each["value"]) if each["value"] is not None else "undefined"
            table.add_row(name, "", "", value, _range(each), _band(each), _p(each))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _range(each: Mapping[str, Any]) -> str:
    low, high = each["low"], each["high"]
    return "" if low is None or high is None else f"{low:.3g} to {high:.3g}"


def _band(each: Mapping[str, Any]) -> str:
    return "" if each["null"] is None else f"{each['null']['low']:.3g} to {each['null']['high']:.3g}"


def _p(each: Mapping[str, Any]) -> str:
    return "" if each["p"] is None else f"{each['p']:.2g}"
