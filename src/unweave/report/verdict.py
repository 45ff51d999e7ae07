"""What speaks for and against a run: the claim with its figures, which both the first page and the details show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unweave.audit.claims import BLIND, CLAIMS, ITEMS, RUNGS, Finding, asks, claim
from unweave.audit.findings import kept
from unweave.audit.standing import said, upper
from unweave.contract import ended
from unweave.contract.keeper import NOTHING
from unweave.evaluation.figures import NONE, change, plain, unit, value
from unweave.modalities import Modality
from unweave.report import contract
from unweave.report.evidence import ATTACKS, EXAMPLES, GAPS, RELEARNING, half_life
from unweave.report.numbers import distance_unit, distances, in_full
from unweave.report.page import Point, Tone, Verdict
from unweave.run.steps_log import counted

Json = Mapping[str, Any]
SECTIONS = {
    **dict.fromkeys(("utility", "budget"), contract.TITLE),
    **dict.fromkeys(("holdout_attack", "epsilon", "per_example_attack"), ATTACKS),
    **{"gaps": GAPS, "robustness": RELEARNING},
    **{"per_example": EXAMPLES["forget"], "retain_exposure": EXAMPLES["retain"]},
}
"""Which section shows what an item of the claim rests on."""
KINDS = ("original", "unlearned", "retrained")
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
        asks: what would lift it one step, for whoever signs.
    """

    level: str | None
    text: str
    against: Sequence[str]
    missing: Sequence[str]
    looked: Sequence[str] = ()
    asks: Sequence[str] = ()

    @property
    def next(self) -> str | None:
        """The next rung."""
        place = -1 if self.level is None else RUNGS.index(self.level)
        return RUNGS[place + 1] if place + 1 < len(RUNGS) else None


def of_evidence(evidence: Json) -> Shown | None:
    """As the evidence file says; None as long as it does not."""
    made = evidence.get("claim")
    if not made:
        return None
    found: dict[str, Finding] = {item["name"]: item["finding"] for item in made["items"] if item["name"] in ITEMS}
    runs = {f"{kind}s" if kind == "original" else kind: evidence["runs"][kind] for kind in KINDS}
    against = [ITEMS[item["name"]].denies if item["name"] in ITEMS else item["denies"] for item in refuting(evidence)]
    looked = [ITEMS[name].says for name, each in found.items() if each == "supports"]
    asked = asks(made["level"], found, **runs)
    return Shown(made["level"], CLAIMS[made["level"]], against, [_plain(x) for x in made["missing"]], looked, asked)


def of_run(summary: Json, scores: Json) -> Shown:
    """What one run supports: E0, as its attack has no blind baseline beside it."""
    clauses = summary["contract"]
    keeps = [row for row in clauses if row["side"] == "keep"]
    broken = any("not finite" in (score["reason"] or "") for score in scores["models"]["unlearned"].values())
    still = summary["model_before"] == summary["model_after"]
    idle = still and summary["status"] in ("done", "unchanged") and summary["stop_reason"] != NOTHING
    ran: Finding = "supports" if summary["status"] == "done" and not still else "undecided"
    found: dict[str, Finding] = {"ran": "refutes" if broken or idle else ran}
    near = any(text.startswith("near-duplicates") for text in summary["warnings"])
    found["disjoint"] = "undecided" if near else "supports"  # a run refuses examples that are in both sets
    if keeps:
        found["utility"] = kept(keeps)
    if clauses:
        found["budget"] = kept(clauses)
    retrained = sum(name in scores["models"] for name in ("retrained", "retrained again"))
    made = claim(found, retrained=retrained)
    asked = asks(made.level, found, retrained=retrained)
    return Shown(made.level, CLAIMS[made.level], made.against, [_plain(x) for x in made.missing], asks=asked)


def _plain(text: str) -> str:
    """A sentence of the ladder without the marks of code."""
    return text.removeprefix("that ").replace("`", "")


def refuting(evidence: Json) -> list[Json]:
    """The items of a claim that speak against the method."""
    return [item for item in evidence["claim"]["items"] if item["finding"] == "refutes" and item["name"] != BLIND]


def objections(evidence: Json | None, against: Sequence[str]) -> list[Point]:
    """One point for every item that refutes; without evidence over several trainings, the sentences as they are."""
    if evidence is None or not evidence.get("claim"):
        return [Point(sentence) for sentence in against]
    return [
        Point(f"{sentence} {_figures(item['name'], evidence)}".strip(), SECTIONS.get(item["name"], ""))
        for item, sentence in zip(refuting(evidence), against, strict=True)
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
        f"{_by_chance(found)}."
    )
    lives = each.get("half_life") or {}
    own, exact = (half_life(lives.get(kind)) for kind in ("unlearned", "retrained"))
    if NONE in (own, exact):
        return text
    return f"{text} Half of it is back after {own} steps; a model that never saw it needs {exact}."


def _different(metrics: Json) -> str:
    told = [
        f"{said(name)} {plain(gap['value'], 'points')} (95 %: {plain(gap['low'], 'points')} to "
        f"{plain(gap['high'], 'points')})"
        for name, gap in metrics.items()
        if gap["verdict"] == "different" and gap["margin"] is not None
    ]
    return f"Points more than in retrained models: {'; '.join(told)}." if told else ""


def _found(triple: Json, names: Sequence[str]) -> str:
    """The attack that is furthest from chance."""
    known = [triple[name]["models"]["unlearned"]["auc"] for name in names if "models" in triple.get(name, {})]
    known = [auc for auc in known if auc["value"] is not None]
    return _auc(max(known, key=lambda auc: abs(auc["value"] - 0.5))) if known else ""


def _by_chance(found: Json) -> str:
    """Where an exact method would lie."""
    return f"{plain(found['null']['low'], unit(found))} to {plain(found['null']['high'], unit(found))}"


def _auc(found: Json) -> str:
    """How often an attacker tells a pair right."""
    ends = "" if found["low"] is None else f" (95 %: {plain(found['low'], 'share')} to {plain(found['high'], 'share')})"
    exact = "" if found["null"] is None else f"; of a retrained model {_by_chance(found)}"
    return f"It is right about {value(found)} of pairs{ends}, where a coin is right about half{exact}."


def about(summary: Json, evidence: Json) -> bool:
    """Whether evidence is about a run's own model, too; as long as it does not say of which it is, it is."""
    made = [model["sha256"] for model in evidence["runs"]["models"] if model["kind"] == "unlearned"]
    return not made or summary["model_after"] in made


def strip(summary: Json, shown: Shown, evidence: Json | None, absent: Sequence[str]) -> list[Verdict]:
    """How the run ended, contract, claim, what speaks against, what would lift it, and what the page lacks."""
    why = f"{summary['status']}: {ended(summary['stop_reason'], summary['contract'])}"
    tone: Tone = "good" if summary["status"] == "done" else "bad"
    again = ". Go on with: unweave run --resume, and its directory" if summary["status"] == "interrupted" else ""
    found = [Verdict("How the run ended", f"{summary['method']}: {why}{again}", tone)]
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
    if about(summary, evidence):
        others = sum(model["kind"] == "unlearned" for model in evidence["runs"]["models"]) - 1
        return Verdict("Which model", f"{told}. The evidence is about it and {others} more of the same recipe.")
    other = "The evidence is about other models of the same recipe, not about this one: collect it again"
    return Verdict("Which model", f"{told}. {other}.", "bad")


def figures(summary: Json, scores: Json, kind: Modality) -> list[Verdict]:
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
        Verdict(upper(said(name)), change(before[name], after[name]))
        for name in kind.front.figures
        if all(name in sheet and sheet[name]["value"] is not None for sheet in (before, after))
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
