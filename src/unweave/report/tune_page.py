"""The page of a search: what was found and how sure that is, all trials, the space, and the run of what won."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unweave.contract import headline
from unweave.report import contract
from unweave.report.first import dated
from unweave.report.page import Page, Section, Table, Verdict, number

Json = Mapping[str, Any]
FILE = "tune.json"
UNIT = {"proxies": "points from retraining", "contract": "share of the budget"}
LIMITS = (
    "The best of several trials looks better on what it was chosen by than it is: the bounds here count them all.",
    "Proxy requests are like the real one in size and mix, not the same examples: an order that they give may turn.",
    "No trial read the final set: what the run's contract says of it needs no correction.",
)


def read(directory: Path) -> Page:
    """The page of a directory with `tune.json`."""
    return page(json.loads((directory / FILE).read_text(encoding="utf-8")))


def page(found: Json) -> Page:
    """Words and tables."""
    asked, rows = found["asked"], found.get("trials", [])
    part = "" if found["status"] == "done" else f" Not finished: {len(rows)} of {asked['trials']} trials."
    lead = (
        f"{found['request']}. {dated(str(found['created']))}, {len(rows)} settings tried, {gradients(rows)} gradients, "
        f"{sum(row['seconds'] for row in rows):.0f} seconds of trials, seed {asked['seed']}.{part}"
    )
    space = [[each[0], each[1].strip()] for each in (line.split(":", 1) for line in found["space"])]
    sections = [Section("Trials", _about(found), [table(found)])]
    sections += [Section("What was tried", "", [Table("Numbers and their ranges", ["", ""], space)])]
    if (ran := found.get("run")) is not None:
        sections += contract.sections(ran)
    return Page(title="A search for settings", lead=lead, verdicts=verdicts(found), sections=sections, limits=LIMITS)


def verdicts(found: Json) -> list[Verdict]:
    """What was found, what it gains, and what came of the run."""
    if "best" not in found:
        return [Verdict("Best", "not found yet: the same command goes on", "note")]
    rows = {row["number"]: row for row in found["trials"]}
    best, own = rows[found["best"]], rows[0]
    unit = UNIT[found["asked"]["by"]]
    same = f" ({_first(found)})" if best is own else ""
    text = f"{said(best['setting'])}{same}: {number(best['objective'], 3)} {unit}, best of {found['tried']} trials"
    told = [
        Verdict(
            "Best", text + ("" if found["met"] else "; no trial met every clause"), "good" if found["met"] else "bad"
        )
    ]
    if (gain := found["gain"]) is not None:
        told.append(Verdict(f"Against {_first(found)}", gained(gain, found["tried"]), _tone(gain)))
    elif own["objective"] is not None:
        told.append(Verdict(f"Against {_first(found)}", f"{number(own['objective'], 3)} {unit}", "plain"))
    if (ran := found.get("run")) is not None:
        clauses = ran["contract"]
        states = headline(clauses) if clauses else "no contract"
        told.append(Verdict("The run", f"{ran['status']}, {ran['steps']} steps: {states}", "plain"))
        told += [Verdict("Warning", text, "bad") for text in ran.get("warnings", ())]
    elif found.get("why"):
        told.append(Verdict("The run", found["why"], "bad"))
    return told


def gained(gain: Json, tried: int) -> str:
    """What the best gains over the recipe, with its bound."""
    if gain["value"] is None:
        return "trial 0 has no distance"
    if gain["low"] is None:
        return f"{number(gain['value'], 3)} points nearer; no bound of one proxy"
    least = (
        f"at least {number(gain['low'], 3)} at the level {gain['level']:.2g}, which is 0.05 divided by {tried} trials"
    )
    return f"{number(gain['value'], 3)} points nearer over the proxies; {least}"


def _tone(gain: Json) -> Any:
    return "good" if gain["low"] is not None and gain["low"] > 0 else "note"


def called(row: Json, found: Json) -> str:
    """A trial's number; of the first also what it is."""
    return f"0, {_first(found)}" if row["number"] == 0 else str(row["number"])


def _first(found: Json) -> str:
    """What trial 0 is: the recipe, or what stands for a method that is still to be chosen."""
    return str(found.get("own", "the recipe"))


def said(setting: Json) -> str:
    """A setting in a line."""
    parts = []
    for section in ("method", "step"):
        each = setting[section]
        told = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in each.items() if k != "name")
        parts.append(f"{each['name']} ({told})" if told else each["name"])
    return ", step ".join(parts)


def gradients(rows: Sequence[Json]) -> int:
    """Of one side over one batch each, in all trials."""
    return sum(row["gradients"] for row in rows)


def table(found: Json) -> Table:
    """A line for every trial, the best first, then those that did not end."""
    rows, count = found.get("trials", []), len(found.get("texts", []))
    heads = ["trial", "setting", UNIT[found["asked"]["by"]], *(f"request {n + 1}" for n in range(count))]
    heads += ["missed", "steps", "seconds", "ended"]

    def rank(row: Json) -> tuple[float, float, int]:
        far = float("inf")
        return (*((far, far) if row["objective"] is None else (row["violation"], row["objective"])), row["number"])

    lines = []
    for row in sorted(rows, key=rank):
        each = [number(one["objective"], 3) for one in row["requests"]]
        missed = "–" if row["violation"] is None else "no" if not row["violation"] else number(row["violation"], 2)
        ended = row["why"] or "; ".join(dict.fromkeys(one["ended"] for one in row["requests"]))
        cells = [called(row, found), said(row["setting"]), number(row["objective"], 3), *(each + ["–"] * count)[:count]]
        lines.append([*cells, missed, str(row["steps"]), f"{row['seconds']:.1f}", ended])
    return Table("The best first", heads, lines)


def _about(found: Json) -> str:
    tried, asked = found["asked"]["trials"], found["asked"]
    level = f"The guard set judged them all, so its level is divided by {tried} (Bonferroni); none read the final set."
    if asked["by"] == "contract":
        won = "Of those that miss no clause, the one that uses least of what may be lost wins."
        return f"Each setting unlearned the request itself. {won} {level}"
    scale = ", ".join(number(each, 3) for each in found.get("original", []))
    return (
        "Each setting unlearned the proxy requests, drawn among the retained examples with the size and mix of the "
        "real one. Their distance is to a model retrained without the proxy, over the metrics of a run's distance. The "
        f"original's: {scale or 'not known yet'}. A setting that misses a clause never wins over one that misses "
        f"none. {level} A pruned trial could not become the best, or was behind the median at a look."
    )
