"""What `evidence.json` says, a section each: gaps over trainings, single examples, attacks, what comes back, cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unweave.audit.standing import said, upper
from unweave.errors import ConfigurationError
from unweave.evaluation.figures import NONE, interval, plain, value
from unweave.report import plots
from unweave.report.numbers import definition, evidence_table, in_full, named, null_band, p_value, probability
from unweave.report.page import Gallery, Picture, Plot, Section, Table
from unweave.run.steps_log import counted

Json = Mapping[str, Any]
KINDS = ("original", "unlearned", "retrained")
SCHEMA = 1
FILE = "evidence.json"
GAPS = "Gaps to retraining, over several trainings"
EXAMPLES = {"forget": "Forget examples over several trainings", "retain": "Retain examples over several trainings"}
ATTACKS = "Attacks"
RELEARNING = "Relearning"
HEADS = ("95 % interval", "an exact method")


def read(path: Path) -> Mapping[str, Any] | None:
    """What an evidence file holds; None where there is none.

    Raises:
        ConfigurationError: it is of a form that this version does not know.
    """
    if not path.is_file():
        return None
    evidence: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if evidence.get("schema") != SCHEMA:
        raise ConfigurationError(
            f"{path}: expected schema {SCHEMA}, found {evidence.get('schema')}. Collect it again with this version: "
            "unweave evidence"
        )
    return evidence


def sections(evidence: Mapping[str, Any] | None, pictures: Mapping[int, str]) -> list[Section]:
    """One section per part that is known; nothing without evidence.

    Args:
        evidence: of `evidence.json`.
        pictures: base64 PNG by row of the training set, as far as there are some.
    """
    if evidence is None:
        return []
    sides = evidence.get("per_example") or {}
    return [
        *([_gaps(evidence)] if evidence.get("gaps") else []),
        *(_side(side, sides[side], pictures, sides.get("values", "")) for side in EXAMPLES if sides.get(side)),
        *([_attacks(evidence)] if evidence.get("attacks") else []),
        *_robustness(evidence.get("robustness") or {}),
        *([_cost(evidence)] if evidence.get("cost") else []),
    ]


def _gaps(evidence: Json) -> Section:
    """Gaps over training runs: what may be said of the method and not of one lucky model alone."""
    gaps, runs, margins = evidence["gaps"], evidence["runs"], evidence["margins"]
    settled = ", ".join(f"{said(metric)} {points:g}" for metric, points in margins["points"].items())
    text = (
        f"Means over {runs['unlearned']} unlearned and {runs['retrained']} retrained models, each of its own training. "
        "Equivalent: the whole interval lies within the margin. Different: no gap at all does not fit what was "
        f"measured. The margins ({settled} points) were settled on {margins['settled']}, when evidence was first asked "
        f"for; digest {str(margins['digest'])[:12]}."
    )
    extra = {
        f"{name}, {whose}": gaps[whose][key]
        for name, key in (("average gap", "average_gap"), ("tug of war", "ToW"))
        for whose in ("unlearned", "original", "null")
        if gaps.get(whose)
    }
    caption = "Average gap and tug of war (1 is exact), beside doing nothing and the null row"
    folded = [evidence_table(caption, extra)]
    before = gaps["original"]["metrics"] if gaps.get("original") else {}
    own = gaps["unlearned"]["metrics"]
    return Section(GAPS, text, [_gap_rows(own, before)], _forest(own, before), folded=folded)


def _gap_rows(own: Json, before: Json) -> Table:
    rows = [
        [
            f"{named(name)}: {definition(name)[1]}" if definition(name)[1] else named(name),
            f"undefined: {gap['reason']}" if gap["value"] is None else value(gap),
            *(interval(gap), null_band(gap), p_value(gap), plain(gap["margin"]), probability(gap["tost"])),
            gap["verdict"] if gap["margin"] is not None or gap["verdict"] == "undefined" else "no margin set",
            plain(before[name]["value"] if name in before else None),
        ]
        for name, gap in own.items()
    ]
    heads = ["", "gap", *HEADS, "p of no gap", "margin", "p of a gap beyond it", "verdict", "original"]
    return Table("Unlearned minus retrained, in points; the last column is what doing nothing leaves", heads, rows)


def _forest(metrics: Json, before: Json) -> list[Plot]:
    rows = [
        plots.Row(
            *(said(name), gap["value"], gap["low"], gap["high"]),
            None if gap["null"] is None else (gap["null"]["low"], gap["null"]["high"]),
            gap["margin"],
        )
        for name, gap in metrics.items()
        if gap["value"] is not None
    ]
    if not rows:
        return []
    others = {"original": {said(name): gap["value"] for name, gap in before.items() if gap["value"] is not None}}
    drawing = plots.forest("Signed gaps to retraining", rows, others, x="points, unlearned minus retrained")
    text = (
        "Point and bar: the gap, its 95 % interval. Band: where an exact method would lie. Dashed: the margin. A bar "
        "within the margin is as good as retraining; a bar that leaves out 0 is not. Hollow square: doing nothing."
    )
    return [Plot(drawing, text)]


def _side(side: str, found: Json, pictures: Mapping[int, str], values: str = "") -> Section:
    if "overall" not in found:
        return Section(EXAMPLES[side], f"No test per example: {found.get('reason', 'not known')}")
    text = (
        f"Each of {found['n']:,} examples is compared between unlearned and retrained models by a t statistic of the "
        f"margin; {found['found']} are told apart at a false-discovery rate of 5 %. "
        f"The least p-value that so few models can give is {found['smallest_p']:.3g}."
    )
    if found["smallest_p"] > 0.05 / found["n"] and not found["found"]:
        text += " That is too coarse to find a single example: only the whole distribution can speak here."
    samples = {"unlearned": found["ecdf"]["t"], "retrained": found["ecdf"]["null"]}
    drawing = plots.ecdf(f"t of every {side} example", samples, x="t, unlearned against retrained")
    caption = (
        "Retrained: the same with models exchanged, so without any effect. Where the curves part, the method leaves a "
        "trace"
    )
    worst = found["overall"].get("worst_decile")
    if worst is not None and worst["value"] is not None and worst["p"] is not None:
        sure = "more than chance" if worst["p"] <= 0.05 else "no more than chance"
        caption += f"; here the worst tenth is {sure} (p {p_value(worst)})"
    return Section(
        EXAMPLES[side],
        text,
        [],
        [Plot(drawing, f"{caption}.")],
        _pictures(found["worst"], pictures) if side == "forget" else [],
        [evidence_table(f"Over all {side} examples", found["overall"]), _worst(side, found["worst"], values)],
    )


def _worst(side: str, worst: Any, values: str = "") -> Table:
    rows = [
        [
            str(each["row"]),
            str(each["label"]),
            f"{each['t']:+.2f}",
            probability(each["p"]),
            "yes" if each["found"] else "no",
            *(f"{each['margins'][kind]:+.2f}" for kind in ("unlearned", "retrained", "original")),
        ]
        for each in worst
    ]
    heads = ["row", "label", "t", "p", "told apart", "unlearned", "retrained", "original"]
    told = values or "margins in nats, above 0 the model is right"
    return Table(f"The worst ten {side} examples; means of {told}", heads, rows)


def _pictures(worst: Any, pictures: Mapping[int, str]) -> list[Gallery]:
    shown = [
        Picture(
            each.get("png") or pictures.get(each["row"], ""),
            f"row {each['row']}, label {each['label']}: t {each['t']:+.2f}, p {probability(each['p'])}",
            str(each.get("text") or ""),
        )
        for each in worst
    ]
    shown = [picture for picture in shown if picture.png or picture.content]
    return [Gallery("The worst over several trainings", shown)] if shown else []


def _attacks(evidence: Json) -> Section:
    """ROC curves, AUC of every attack, and what follows from the blind baseline."""
    attacks = evidence["attacks"]
    blind = attacks["blind"]
    text = (
        "Each attack tells forget examples from unseen ones by what a model says. On the retrained model it can "
        f"find nothing but chance, and on the unlearned one it should find no more. An AUC away from 50 % tells "
        f"members, on either side of it; what counts is what an exact method shows. {blind.get('text') or ''}"
    )
    made = {name: each for name, each in attacks["triple"].items() if "models" in each}
    plotted = [_roc(each, blind) for each in made.values()]
    over = evidence.get("over_runs") or {}
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
    folded = [evidence_table("Attacks over many trainings", named)] if named else []
    folded += [evidence_table("True positives at few false positives", tails)] if tails else []
    return Section(ATTACKS, text, [_attack_rows(attacks["triple"], blind)], plotted, folded=folded)


def _attack_rows(triple: Json, blind: Json) -> Table:
    rows = [["blind: no model", NONE, value(blind), NONE, interval(blind), null_band(blind), p_value(blind), NONE]]
    for name, each in triple.items():
        title = f"{name}: {each['title']}"
        if "models" not in each:
            rows.append([title, NONE, f"undefined: {each.get('reason', '')}", *[NONE] * 5])
            continue
        found = [each["models"][kind]["auc"] for kind in KINDS]
        own, more = each["models"]["unlearned"]["auc"], in_full(each["above_retrained"])
        rows.append([title, *map(value, found), interval(own), null_band(own), p_value(own), more])
    heads = ["AUC", *KINDS, *HEADS, "p", "unlearned above retrained"]
    return Table("Area under the ROC curve; interval, null and p are of the unlearned model", heads, rows)


def _roc(attack: Json, blind: Json) -> Plot:
    curves = {kind: attack["models"][kind]["roc"] for kind in KINDS if attack["models"][kind]["roc"]}
    curves |= {"blind": blind["roc"]} if blind.get("roc") else {}
    drawing = plots.roc(f"ROC: {attack['title']}", curves)
    return Plot(drawing, "Above the dashed line an attack beats guessing; the left edge is where single records leak.")


def _robustness(robustness: Json) -> list[Section]:
    """Relearning, and precision."""
    parts = {"relearning": _relearning, "precision": _precision}
    return [told(robustness[part]) for part, told in parts.items() if robustness.get(part)]


def _relearning(attacks: Sequence[Json]) -> Section:
    text = (
        "Each model is trained on for a few steps, and what it then says of forget examples not shown again is "
        "scored. A retrained model learns them as anything new; one that only hides them has them back at once. "
        "Half-life: steps until half of what the original had is back, median over runs."
    )
    plotted = [
        Plot(
            plots.runs(
                f"After training on {each['title']}",
                each["steps"],
                {kind: each["curves"][kind] for kind in KINDS if each["curves"].get(kind)},
                y=each["score"],
                x_name="steps of training",
            ),
            f"{each['learned']} examples learned, {each['scored']} scored: {each['score']}. Thin: runs; thick: means.",
        )
        for each in attacks
    ]
    lives = Table(
        "Half-life in steps",
        ["learned", *KINDS],
        [[each["title"], *(half_life(each["half_life"].get(kind)) for kind in KINDS)] for each in attacks],
    )
    recovered = evidence_table(
        "Recovered share: 0 is retraining, 1 is the original", {a["title"]: a["recovered"] for a in attacks}
    )
    return Section(RELEARNING, text, [recovered], plotted, folded=[lives])


def half_life(found: Json | None) -> str:
    """A median of steps, or the last step that did not reach it."""
    if not found:
        return NONE
    return f"more than {found['beyond']}" if found["median"] is None else f"{found['median']:.1f}"


def _precision(ladder: Sequence[Json]) -> Section:
    text = (
        "Weights are often stored in fewer bits. If unlearning moved them by less than a bucket of the coarser grid, "
        "they round back to the original's, and the forgotten comes back. Unchanged: weights in the same bucket."
    )
    names = [each["precision"] for each in ladder]
    plotted = [
        Plot(
            plots.groups(
                f"{upper(said(metric))}, by precision",
                names,
                {kind: [_percent(each["scores"][kind][metric]) for each in ladder] for kind in KINDS},
                y=says,
            ),
            caption,
        )
        for metric, says, caption in (
            ("FA", "accuracy on the forget set, %", "The unlearned model should stay with the retrained one."),
            ("TA", "test accuracy, %", "What the coarser grid costs every model."),
            (
                "forget_probability",
                "of answers to forget, %",
                "The unlearned model should stay with the retrained one.",
            ),
            ("retain_probability", "of answers to keep, %", "What the coarser grid costs every model."),
        )
        if all(metric in each["scores"].get(kind, {}) for each in ladder for kind in KINDS)
    ]
    rows = [
        [
            each["precision"],
            plain(each["unchanged"], "share"),
            value(each["recovered"]),
            interval(each["recovered"]),
            each["recovered"]["reason"] or NONE,
        ]
        for each in ladder
    ]
    heads = ["precision", "unchanged", "recovered share", "95 % interval", "undefined because"]
    return Section("The precision ladder", text, [Table("0 is retraining, 1 is the original", heads, rows)], plotted)


def _cost(evidence: Json) -> Section:
    """Seconds of each kind of model, and every model with its seed and hash."""
    cost = evidence["cost"]
    share = "" if cost["share"] is None else f" Unlearning took {100 * cost['share']:.1f} % of the time of retraining."
    where = counted(cost["workers"], "process", "processes")
    text = f"{cost['total']:.0f} s of training and unlearning in all, in {where}.{share}"
    seconds = Table("Seconds of one model", ["", "seconds"], [[k, _seconds(v)] for k, v in cost["seconds"].items()])
    rows = [
        [
            m["kind"],
            "from a file" if m["seed"] is None else str(m["seed"]),
            _seconds(m["seconds"]),
            "yes" if m["cached"] else "no",
            str(m["sha256"]),
        ]
        for m in evidence["runs"]["models"]
    ]
    models = Table("Every model, with its seed and SHA-256", ["kind", "seed", "seconds", "cached", "SHA-256"], rows)
    return Section("What the evidence cost", text, [seconds], folded=[models])


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _seconds(seconds: float | None) -> str:
    """Nobody knows how long a model took that came from a file."""
    return "-" if seconds is None else f"{seconds:.1f}"
