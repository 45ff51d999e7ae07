"""What a person who must sign reads first: a sentence, five statements, and the figures behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unweave.audit.claims import CLAIMS, RUNGS
from unweave.contract import ended, headline, overall, state_of
from unweave.modalities import MODALITIES, Modality
from unweave.report import contract
from unweave.report.claim import Shown
from unweave.report.objections import objections
from unweave.report.page import Bottom, Tone, Verdict
from unweave.report.scores import distance_unit, distances, score_text
from unweave.run.steps_log import counted

Json = Mapping[str, Any]
EVIDENCE = "unweave evidence recipe.yaml"


def bottom(summary: Json, shown: Shown, card: Json | None) -> Bottom:
    """The page in one sentence, and what follows from it."""
    clauses, status = summary["contract"], summary["status"]
    if status == "interrupted":
        return Bottom("This run is not finished.", "Go on with: unweave run --resume, and its directory.", "bad")
    if status != "done":
        return Bottom(f"This run failed: {status}.", f"It ended because: {summary['stop_reason']}.", "bad")
    if (state := overall(clauses)) != "met":
        short = "; ".join(row["clause"] for row in clauses if state_of(row) != "met")
        then = f"The model that was saved keeps what it can. Do not rely on: {short}."
        told = (
            "The contract was not kept"
            if state == "missed"
            else "So few examples do not show that the contract is kept"
        )
        return Bottom(f"{told}; {headline(clauses)}.", then, "bad")
    kept = "The contract was kept" if clauses else "No contract was agreed"
    if shown.against:
        text = f"{kept}, but the evidence speaks against the result: it is not ready to be signed off."
        cost = summary["retrain_seconds"]
        sure = "Retraining without the forget set is the sure way" + (f", {cost:.1f} s here." if cost else ".")
        then = f"Choose another method or other limits and collect the evidence again, or retrain. {sure}"
        return Bottom(text, then, "bad", objections(card, shown.against))
    if shown.level in (None, "E0"):
        text = f"{kept}, but it has not been tested whether the forget set can still be told from unseen data."
        return Bottom(text, f"What is missing comes from: {EVIDENCE}", "note")
    return Bottom(f"{kept}. The evidence supports claim {shown.level} of E0 to E4.", shown.text, "good")


def strip(summary: Json, shown: Shown, card: Json | None, absent: Sequence[str]) -> list[Verdict]:
    """What was asked, contract, claim, what speaks against, what would lift it, and what the page lacks."""
    asked = (
        f"bound the influence of {summary['forget']:,} training examples ({summary['request']}) and keep the model "
        f"working on {summary['retain']:,} others, with {summary['method']}"
    )
    found = [Verdict("What was asked", asked)]
    if summary["status"] != "done" or not summary["contract"]:
        tone: Tone = "good" if summary["status"] == "done" else "bad"
        found.append(
            Verdict(
                "How the run ended", f"{summary['status']}: {ended(summary['stop_reason'], summary['contract'])}", tone
            )
        )
    found += [*contract.verdicts(summary, bool(shown.against)), subject(summary, card), *claims(shown)]
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
        against = Verdict(
            "What speaks against it", "nothing that was looked at. It was found that", "good", shown.looked
        )
    else:
        against = Verdict("What speaks against it", "nothing is known: no test was made that could", "note")
    if shown.next is None:
        return [claimed, against]
    lift = f"{'clear what speaks against it; ' if shown.against else ''}to reach {shown.next}, show"
    return [claimed, against, Verdict("What would lift the claim one step", lift, "plain", shown.missing)]


def subject(summary: Json, card: Json | None) -> Verdict:
    """Which weights the page is about, and whether the evidence is about them, too."""
    own = str(summary["model_after"])
    told = f"the tensors with SHA-256 {own[:16]}…, in full below"
    if card is None or not card["runs"]["models"]:
        return Verdict("Which model", told)
    made = [model["sha256"] for model in card["runs"]["models"] if model["kind"] == "unlearned"]
    if own in made:
        return Verdict("Which model", f"{told}. The evidence is about it and {len(made) - 1} more of the same recipe.")
    other = "The evidence is about other models of the same recipe, not about this one: collect it again"
    return Verdict("Which model", f"{told}. {other}.", "bad")


def figures(summary: Json, scores: Json) -> list[Verdict]:
    """The numbers that most people ask for first, and every warning."""
    found, gaps = [], distances(scores)
    if "unlearned" in gaps and "original" in gaps:
        away = {name: score_text(scores["gaps"][name]["average_gap"], short=True) for name in gaps}
        again = f"; a second retrained model is {away['retrained again']} away" if "retrained again" in gaps else ""
        text = f"{away['unlearned']} {distance_unit(scores)} after, {away['original']} before{again}"
        tone: Tone = "good" if gaps["unlearned"] < gaps["original"] else "bad"
        found.append(Verdict("Distance to the retrained model", text, tone))
    else:
        found.append(Verdict("Distance to the retrained model", "not computed: no retrained reference", "note"))
    before, after = scores["models"]["original"], scores["models"]["unlearned"]
    found += [
        Verdict(title, _change(before[name], after[name]))
        for kind in MODALITIES.values()
        for title, name in kind.front.figures.items()
        if name in before and name in after
    ]
    if summary["efficiency"] is not None:
        cost = f"{summary['seconds']:.1f} s against {summary['retrain_seconds']:.1f} s for retraining"
        found.append(Verdict("Cost", cost, "good" if summary["efficiency"] < 1 else "note"))
    return found + [Verdict("Warning", text, "bad") for text in summary["warnings"]]


def absent(summary: Json, scores: Json, card: Json | None, quoted: Json | None, kind: Modality) -> list[str]:
    """What a fuller page of a run on such data would have, and how to get it."""
    found = []
    if card is None and kind.over_trainings:
        found.append(
            f"gaps over several trainings, attacks with their null, relearning, precision: {EVIDENCE}, "
            "then unweave report"
        )
    elif card is not None and card["pending"]:
        found.append(f"evidence that is still missing ({', '.join(card['pending'])}): {EVIDENCE} once more")
    if "retrained" not in scores["models"]:
        found.append(f"the distance to a retrained model: {kind.retrained}, in the recipe")
    if not summary["contract"]:
        found.append("limits that the run keeps: contract: in the recipe")
    if quoted is None:
        found.append("how hard the request was before the run: evaluation.quote: true in the recipe")
    return found


def _change(before: Json, after: Json) -> str:
    if before["value"] is None or after["value"] is None:
        return "undefined"
    return f"{score_text(before, short=True)} before, {score_text(after, short=True)} after"
