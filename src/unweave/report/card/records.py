"""Is each example as under retraining? The test per example, its distribution, and the ten that are told best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unweave.report import plots
from unweave.report.card.evidence import p, table
from unweave.report.page import Gallery, Picture, Plot, Section, Table

Json = Mapping[str, Any]
TITLES = {"forget": "Forget examples over several trainings", "retain": "Retain examples over several trainings"}
HEADS = ["row", "label", "t", "p", "told apart", "unlearned", "retrained", "original"]


def sections(sides: Json, pictures: Mapping[int, str]) -> list[Section]:
    """One section for the forget and one for the retain set."""
    return [_section(side, sides[side], pictures) for side in TITLES if sides.get(side)]


def _section(side: str, found: Json, pictures: Mapping[int, str]) -> Section:
    if "overall" not in found:
        return Section(TITLES[side], f"No test per example: {found.get('reason', 'not known')}")
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
        f"trace{_whether(found['overall'])}."
    )
    return Section(
        TITLES[side],
        text,
        [],
        [Plot(drawing, caption)],
        _pictures(found["worst"], pictures) if side == "forget" else [],
        [table(f"Over all {side} examples", found["overall"]), _worst(side, found["worst"])],
    )


def _whether(overall: Json) -> str:
    """What the worst tenth says of it."""
    worst = overall.get("worst_decile")
    if worst is None or worst["value"] is None or worst["p"] is None:
        return ""
    sure = "more than chance" if worst["p"] <= 0.05 else "no more than chance"
    return f"; here the worst tenth is {sure} (p {p(worst['p'])})"


def _worst(side: str, worst: Any) -> Table:
    rows = [
        [
            str(each["row"]),
            str(each["label"]),
            f"{each['t']:+.2f}",
            p(each["p"]),
            "yes" if each["found"] else "no",
            *(f"{each['margins'][kind]:+.2f}" for kind in ("unlearned", "retrained", "original")),
        ]
        for each in worst
    ]
    return Table(f"The worst ten {side} examples; mean margins in nats, above 0 the model is right", HEADS, rows)


def _pictures(worst: Any, pictures: Mapping[int, str]) -> list[Gallery]:
    shown = [
        Picture(
            each.get("png") or pictures.get(each["row"], ""),
            f"row {each['row']}, label {each['label']}: t {each['t']:+.2f}, p {p(each['p'])}",
            str(each.get("text") or ""),
        )
        for each in worst
    ]
    shown = [picture for picture in shown if picture.png or picture.content]
    return [Gallery("The worst over several trainings", shown)] if shown else []
