"""Attacks on the triple original, retrained, unlearned, beside the attacker who never sees a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unweave.report import plots
from unweave.report.card.evidence import p, span, table, value
from unweave.report.page import Plot, Section, Table

Json = Mapping[str, Any]
KINDS = ("original", "unlearned", "retrained")
TITLE = "Attacks"


def section(card: Json) -> Section:
    """ROC curves, AUC of every attack, and what follows from the blind baseline."""
    attacks = card["attacks"]
    blind = attacks["blind"]
    text = (
        "Each attack tells forget examples from unseen ones by what a model says. On the retrained model it can "
        f"find nothing but chance, and on the unlearned one it should find no more. An AUC away from 50 % tells "
        f"members, on either side of it; what counts is what an exact method shows. {blind.get('text') or ''}"
    )
    made = {name: each for name, each in attacks["triple"].items() if "models" in each}
    plotted = [_roc(each, blind) for each in made.values()]
    over = card.get("over_runs") or {}
    named = {f"KLoM, {side} set": found for side, found in (over.get("klom") or {}).items() if "metric" in found}
    named |= {"forgetting score (NeurIPS 2023)": over["forgetting_score"]} if over.get("forgetting_score") else {}
    named |= {"lower bound of epsilon": over["epsilon"]} if over.get("epsilon") else {}
    named |= {
        f"U-LiRA, {key}": over["u_lira"][key] for key in ("auc", "worst", "tail") if key in over.get("u_lira", {})
    }
    tails = {
        f"{name}, {kind}, at {100 * tail['rate']:g} % false positives": tail["tpr"]
        for name, each in made.items()
        for kind in KINDS
        for tail in each["models"][kind]["tails"]
        if tail["tpr"]["value"] is not None
    }
    folded = [table("Attacks over many trainings", named)] if named else []
    folded += [table("True positives at few false positives", tails)] if tails else []
    return Section(TITLE, text, [_rows(attacks, blind)], plotted, folded=folded)


def _rows(attacks: Json, blind: Json) -> Table:
    rows = [
        [
            "blind: no model",
            "–",
            value(blind["value"], blind),
            "–",
            span(blind, blind),
            _band(blind),
            p(blind["p"]),
            "–",
        ]
    ]
    for name, each in attacks["triple"].items():
        if "models" not in each:
            rows.append([f"{name}: {each['title']}", "–", f"undefined: {each.get('reason', '')}", *["–"] * 5])
            continue
        found = {kind: each["models"][kind]["auc"] for kind in KINDS}
        own = found["unlearned"]
        more = each["above_retrained"]
        rows.append(
            [
                f"{name}: {each['title']}",
                *(value(found[kind]["value"], found[kind]) for kind in KINDS),
                span(own, own),
                _band(own),
                p(own["p"]),
                f"{value(more['value'], more)} {span(more, more)}",
            ]
        )
    heads = ["AUC", *KINDS, "95 % interval", "an exact method", "p", "unlearned above retrained"]
    return Table("Area under the ROC curve; interval, null and p are of the unlearned model", heads, rows)


def _band(found: Json) -> str:
    return "–" if found["null"] is None else span(found["null"], found)


def _roc(attack: Json, blind: Json) -> Plot:
    curves = {kind: attack["models"][kind]["roc"] for kind in KINDS if attack["models"][kind]["roc"]}
    curves |= {"blind": blind["roc"]} if blind.get("roc") else {}
    drawing = plots.roc(f"ROC: {attack['title']}", curves)
    return Plot(drawing, "Above the dashed line an attack beats guessing; the left edge is where single records leak.")
