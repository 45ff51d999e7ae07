"""What speaks against the result, in a sentence with its figures each, and the section that shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unweave.audit.claims import BLIND
from unweave.report.card import attacks, gaps, records, robustness
from unweave.report.card.evidence import span, value
from unweave.report.contract import TITLE as CONTRACT
from unweave.report.page import Point

Json = Mapping[str, Any]
SECTIONS = {
    "utility": CONTRACT,
    "budget": CONTRACT,
    "holdout_attack": attacks.TITLE,
    "gaps": gaps.TITLE,
    "per_example": records.TITLES["forget"],
    "epsilon": attacks.TITLE,
    "per_example_attack": attacks.TITLE,
    "retain_exposure": records.TITLES["retain"],
    "robustness": robustness.TITLE,
}


def objections(card: Json | None, against: Sequence[str]) -> list[Point]:
    """One point for every item that refutes; without evidence over several trainings, the sentences as they are."""
    claim = None if card is None else card.get("claim")
    if card is None or not claim:
        return [Point(sentence) for sentence in against]
    refuting = [item for item in claim["items"] if item["finding"] == "refutes" and item["name"] != BLIND]
    return [
        Point(f"{sentence} {_figures(item['name'], card)}".strip(), SECTIONS.get(item["name"], ""))
        for item, sentence in zip(refuting, against, strict=True)
    ]


def _figures(name: str, card: Json) -> str:
    """The numbers that decided an item, for people; empty where there are none to name."""
    match name:
        case "robustness":
            return _brought_back(card["robustness"])
        case "gaps":
            return _different(card["gaps"]["unlearned"]["metrics"])
        case "per_example" | "retain_exposure":
            part = card["per_example"]["forget" if name == "per_example" else "retain"]
            return f"{part['found']} of {part['n']:,} examples are told apart."
        case "holdout_attack":
            return _found(card["attacks"]["triple"], ("loss", "joined"))
        case "epsilon":
            return f"It is {value(card['over_runs']['epsilon']['value'], card['over_runs']['epsilon'])}."
        case "per_example_attack" if "auc" in card["over_runs"]["u_lira"]:
            return _auc(card["over_runs"]["u_lira"]["auc"])
        case "per_example_attack":
            return _found(card["attacks"]["triple"], ("rmia",))
    return ""


def _brought_back(part: Json) -> str:
    """The attack that brings back most, and how fast."""
    tried = [(each["recovered"], each) for each in part["relearning"]]
    tried += [(each["recovered"], {**each, "title": each["precision"]}) for each in part["precision"]]
    known = [(found, each) for found, each in tried if found["value"] is not None and found["null"] is not None]
    if not known:
        return ""
    found, each = max(known, key=lambda one: one[0]["value"])
    text = (
        f"After {'training on ' if 'half_life' in each else 'rounding to '}{each['title']}, "
        f"{value(found['value'], found)} of what separates the original from a retrained model is back; by chance "
        f"alone it would be within {span(found['null'], found)}."
    )
    lives = each.get("half_life") or {}
    own, exact = (robustness.half(lives.get(kind)) for kind in ("unlearned", "retrained"))
    return (
        text
        if "–" in (own, exact)
        else f"{text} Half of it is back after {own} steps; a model that never saw it needs {exact}."
    )


def _different(metrics: Json) -> str:
    told = [
        f"{name} by {value(gap['value'], gap)} {span(gap, gap)}"
        for name, gap in metrics.items()
        if gap["verdict"] == "different" and gap["margin"] is not None
    ]
    return f"In points: {', '.join(told)}." if told else ""


def _found(triple: Json, names: Sequence[str]) -> str:
    """The attack that is furthest from chance."""
    known = [triple[name]["models"]["unlearned"]["auc"] for name in names if "models" in triple.get(name, {})]
    known = [auc for auc in known if auc["value"] is not None]
    return _auc(max(known, key=lambda auc: abs(auc["value"] - 0.5))) if known else ""


def _auc(found: Json) -> str:
    null = "" if found["null"] is None else f"; of an exact method {span(found['null'], found)}"
    return f"AUC {value(found['value'], found)} {span(found, found)}{null}."
