"""What a person who must sign reads first: a sentence, what is claimed and what speaks against it, and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unweave.audit.claims import BLIND, CLAIMS, RUNGS, Finding, claim
from unweave.audit.findings import kept
from unweave.contract import ended, headline, overall, state_of
from unweave.modalities import MODALITIES, Modality
from unweave.report import contract
from unweave.report.evidence import ATTACKS, EXAMPLES, GAPS, RELEARNING, half_life
from unweave.report.numbers import NONE, distance_unit, distances, in_full, null_band, value
from unweave.report.page import Bottom, Point, Tone, Verdict
from unweave.run.steps_log import counted

Json = Mapping[str, Any]
SECTIONS = {
    **dict.fromkeys(("utility", "budget"), contract.TITLE),
    **dict.fromkeys(("holdout_attack", "epsilon", "per_example_attack"), ATTACKS),
    **{"gaps": GAPS, "robustness": RELEARNING},
    **{"per_example": EXAMPLES["forget"], "retain_exposure": EXAMPLES["retain"]},
}
"""Which section shows what an item of the claim rests on."""
EVIDENCE = "unweave evidence recipe.yaml"


@dataclass(frozen=True)
class Shown:
    """A claim as the page needs it.

    Args:
        level: "E0" to "E4"; None where not even E0 is supported.
        text: what it says.
        against: what refutes the method.
        missing: what would lift it one step.
        looked: what was looked at and supports it.
    """

    level: str | None
    text: str
    against: Sequence[str]
    missing: Sequence[str]
    looked: Sequence[str] = ()

    @property
    def next(self) -> str | None:
        """The next rung."""
        place = -1 if self.level is None else RUNGS.index(self.level)
        return RUNGS[place + 1] if place + 1 < len(RUNGS) else None


def of_evidence(evidence: Json) -> Shown | None:
    """As the evidence file says; None as long as it does not."""
    found = evidence.get("claim")
    if not found:
        return None
    looked = [item["says"] for item in found["items"] if item["finding"] == "supports"]
    level = found["level"]
    return Shown(level, CLAIMS[level], found["against"], [_plain(text) for text in found["missing"]], looked)


def of_run(summary: Json, scores: Json) -> Shown:
    """What one run supports: E0, as its attack has no blind baseline beside it."""
    clauses = summary["contract"]
    keeps = [row for row in clauses if row["side"] == "keep"]
    broken = any("not finite" in (score["reason"] or "") for score in scores["models"]["unlearned"].values())
    ran = summary["status"] == "done" and summary["model_before"] != summary["model_after"] and not broken
    found: dict[str, Finding] = {"ran": "supports" if ran else "refutes" if broken else "undecided"}
    near = any(text.startswith("near-duplicates") for text in summary["warnings"])
    found["disjoint"] = "undecided" if near else "supports"  # a run refuses examples that are in both sets
    if keeps:
        found["utility"] = kept(keeps)
    if clauses:
        found["budget"] = kept(clauses)
    retrained = sum(name in scores["models"] for name in ("retrained", "retrained again"))
    made = asdict(claim(found, retrained=retrained))
    return Shown(made["level"], CLAIMS[made["level"]], made["against"], [_plain(text) for text in made["missing"]])


def _plain(text: str) -> str:
    """A sentence of the ladder without the marks of code."""
    return text.removeprefix("that ").replace("`", "")


def objections(evidence: Json | None, against: Sequence[str]) -> list[Point]:
    """One point for every item that refutes; without evidence over several trainings, the sentences as they are."""
    claim = None if evidence is None else evidence.get("claim")
    if evidence is None or not claim:
        return [Point(sentence) for sentence in against]
    refuting = [item for item in claim["items"] if item["finding"] == "refutes" and item["name"] != BLIND]
    return [
        Point(f"{sentence} {_figures(item['name'], evidence)}".strip(), SECTIONS.get(item["name"], ""))
        for item, sentence in zip(refuting, against, strict=True)
    ]


def _figures(name: str, evidence: Json) -> str:
    """The numbers that decided an item, for people; empty where there are none to name."""
    match name:
        case "robustness":
            return _brought_back(evidence["robustness"])
        case "gaps":
            return _different(evidence["gaps"]["unlearned"]["metrics"])
        case "per_example" | "retain_exposure":
            part = evidence["per_example"]["forget" if name == "per_example" else "retain"]
            return f"{part['found']} of {part['n']:,} examples are told apart."
        case "holdout_attack":
            return _found(evidence["attacks"]["triple"], ("loss", "joined"))
        case "epsilon":
            return f"It is {value(evidence['over_runs']['epsilon'])}."
        case "per_example_attack" if "auc" in evidence["over_runs"]["u_lira"]:
            return _auc(evidence["over_runs"]["u_lira"]["auc"])
        case "per_example_attack":
            return _found(evidence["attacks"]["triple"], ("rmia",))
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
        f"{value(found)} of what separates the original from a retrained model is back; by chance alone it would be "
        f"within {null_band(found)}."
    )
    lives = each.get("half_life") or {}
    own, exact = (half_life(lives.get(kind)) for kind in ("unlearned", "retrained"))
    if NONE in (own, exact):
        return text
    return f"{text} Half of it is back after {own} steps; a model that never saw it needs {exact}."


def _different(metrics: Json) -> str:
    told = [
        f"{name} by {in_full(gap)}"
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
    null = "" if found["null"] is None else f"; of an exact method {null_band(found)}"
    return f"AUC {in_full(found)}{null}."


def bottom(summary: Json, shown: Shown, evidence: Json | None) -> Bottom:
    """The page in one sentence, and what follows from it."""
    clauses, status = summary["contract"], summary["status"]
    if status == "interrupted":
        return Bottom("This run is not finished.", "Go on with: unweave run --resume, and its directory.", "bad")
    if status != "done":
        return Bottom(f"This run failed: {status}.", f"It ended because: {summary['stop_reason']}.", "bad")
    if (state := overall(clauses)) != "met":
        short = "; ".join(row["clause"] for row in clauses if state_of(row) != "met")
        then = f"The model that was saved keeps what it can. Do not rely on: {short}."
        told = "The contract was not kept"
        if state != "missed":
            told = "So few examples do not show that the contract is kept"
        return Bottom(f"{told}; {headline(clauses)}.", then, "bad")
    kept = "The contract was kept" if clauses else "No contract was agreed"
    if shown.against:
        text = f"{kept}, but the evidence speaks against the result: it is not ready to be signed off."
        cost = summary["retrain_seconds"]
        sure = "Retraining without the forget set is the sure way" + (f", {cost:.1f} s here." if cost else ".")
        then = f"Choose another method or other limits and collect the evidence again, or retrain. {sure}"
        return Bottom(text, then, "bad", objections(evidence, shown.against))
    if shown.level in (None, "E0"):
        text = f"{kept}, but it has not been tested whether the forget set can still be told from unseen data."
        return Bottom(text, f"What is missing comes from: {EVIDENCE}", "note")
    return Bottom(f"{kept}. The evidence supports claim {shown.level} of E0 to E4.", shown.text, "good")


def strip(summary: Json, shown: Shown, evidence: Json | None, absent: Sequence[str]) -> list[Verdict]:
    """What was asked, contract, claim, what speaks against, what would lift it, and what the page lacks."""
    asked = (
        f"bound the influence of {summary['forget']:,} training examples ({summary['request']}) and keep the model "
        f"working on {summary['retain']:,} others, with {summary['method']}"
    )
    found = [Verdict("What was asked", asked)]
    if summary["status"] != "done" or not summary["contract"]:
        tone: Tone = "good" if summary["status"] == "done" else "bad"
        why = f"{summary['status']}: {ended(summary['stop_reason'], summary['contract'])}"
        found.append(Verdict("How the run ended", why, tone))
    found += [*contract.verdicts(summary, bool(shown.against)), subject(summary, evidence), *claims(shown)]
    if absent:
        found.append(Verdict("Not on this page", "what these would add:", "note", absent))
    return found


def claims(shown: Shown) -> list[Verdict]:
    """The strongest claim, what speaks against the method, and what would lift the claim one step."""
    level = shown.level or "none"
    tone: Tone = "bad" if shown.level is None else "note" if shown.against or shown.level == "E0" else "good"
    rungs = [f"{rung}: {CLAIMS[rung]}" for rung in RUNGS if rung != shown.level]
    claimed = Verdict("Strongest claim, of E0 to E4", f"{level}. {shown.text}", tone, rungs)
    if shown.against:
        found = counted(len(shown.against), "finding", "findings")
        against = Verdict("What speaks against it", found, "bad", shown.against)
    elif shown.looked:
        text = "nothing that was looked at. It was found that"
        against = Verdict("What speaks against it", text, "good", shown.looked)
    else:
        against = Verdict("What speaks against it", "nothing is known: no test was made that could", "note")
    if shown.next is None:
        return [claimed, against]
    lift = f"{'clear what speaks against it; ' if shown.against else ''}to reach {shown.next}, show"
    return [claimed, against, Verdict("What would lift the claim one step", lift, "plain", shown.missing)]


def subject(summary: Json, evidence: Json | None) -> Verdict:
    """Which weights the page is about, and whether the evidence is about them, too."""
    own = str(summary["model_after"])
    told = f"the tensors with SHA-256 {own[:16]}…, in full below"
    if evidence is None or not evidence["runs"]["models"]:
        return Verdict("Which model", told)
    made = [model["sha256"] for model in evidence["runs"]["models"] if model["kind"] == "unlearned"]
    if own in made:
        return Verdict("Which model", f"{told}. The evidence is about it and {len(made) - 1} more of the same recipe.")
    other = "The evidence is about other models of the same recipe, not about this one: collect it again"
    return Verdict("Which model", f"{told}. {other}.", "bad")


def figures(summary: Json, scores: Json) -> list[Verdict]:
    """The numbers that most people ask for first, and every warning."""
    found, gaps = [], distances(scores)
    if "unlearned" in gaps and "original" in gaps:
        away = {name: in_full(scores["gaps"][name]["average_gap"], short=True) for name in gaps}
        again = f"; a second retrained model is {away['retrained again']} away" if "retrained again" in gaps else ""
        text = f"{away['unlearned']} {distance_unit(scores)} after, {away['original']} before{again}"
        tone: Tone = "good" if gaps["unlearned"] < gaps["original"] else "bad"
        found.append(Verdict("Distance to the retrained model", text, tone))
    else:
        found.append(Verdict("Distance to the retrained model", "not computed: no retrained reference", "note"))
    before, after = scores["models"]["original"], scores["models"]["unlearned"]
    found += [
        Verdict(title, f"{value(before[name])} before, {value(after[name])} after")
        for kind in MODALITIES.values()
        for title, name in kind.front.figures.items()
        if name in before and name in after
    ]
    if summary["efficiency"] is not None:
        cost = f"{summary['seconds']:.1f} s against {summary['retrain_seconds']:.1f} s for retraining"
        found.append(Verdict("Cost", cost, "good" if summary["efficiency"] < 1 else "note"))
    return found + [Verdict("Warning", text, "bad") for text in summary["warnings"]]


def absent(summary: Json, scores: Json, evidence: Json | None, quoted: Json | None, kind: Modality) -> list[str]:
    """What a fuller page of a run on such data would have, and how to get it."""
    found = []
    if evidence is None and kind.over_trainings:
        found.append(
            f"gaps over several trainings, attacks with their null, relearning, precision: {EVIDENCE}, "
            "then unweave report"
        )
    elif evidence is not None and evidence["pending"]:
        found.append(f"evidence that is still missing ({', '.join(evidence['pending'])}): {EVIDENCE} once more")
    if "retrained" not in scores["models"]:
        found.append(f"the distance to a retrained model: {kind.retrained}, in the recipe")
    if not summary["contract"]:
        found.append("limits that the run keeps: contract: in the recipe")
    if quoted is None:
        found.append("how hard the request was before the run: evaluation.quote: true in the recipe")
    return found
