"""Does it come back? Relearning on the triple, and the ladder of precisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unweave.report import plots
from unweave.report.card.evidence import span, table, value
from unweave.report.page import Plot, Section, Table

Json = Mapping[str, Any]
KINDS = ("original", "unlearned", "retrained")
TITLE = "Relearning"


def sections(robustness: Json) -> list[Section]:
    """Relearning, and precision."""
    found = []
    if robustness.get("relearning"):
        found.append(_relearning(robustness["relearning"]))
    if robustness.get("precision"):
        found.append(_precision(robustness["precision"]))
    return found


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
                y="mean probability of the true label",
                x_name="steps of training",
            ),
            f"{each['learned']} examples learned, {each['scored']} scored: {each['score']}. Thin: runs; thick: means.",
        )
        for each in attacks
    ]
    lives = Table(
        "Half-life in steps",
        ["learned", *KINDS],
        [[each["title"], *(half(each["half_life"].get(kind)) for kind in KINDS)] for each in attacks],
    )
    recovered = table(
        "Recovered share: 0 is retraining, 1 is the original", {a["title"]: a["recovered"] for a in attacks}
    )
    return Section(TITLE, text, [recovered], plotted, folded=[lives])


def half(found: Json | None) -> str:
    """A median of steps, or the last step that did not reach it."""
    if not found:
        return "–"
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
                f"{metric} by precision",
                names,
                {kind: [_percent(each["scores"][kind].get(metric)) for each in ladder] for kind in KINDS},
                y=says,
            ),
            caption,
        )
        for metric, says, caption in (
            ("FA", "accuracy on the forget set, %", "The unlearned model should stay with the retrained one."),
            ("TA", "test accuracy, %", "What the coarser grid costs every model."),
        )
        if all(metric in each["scores"].get(kind, {}) for each in ladder for kind in KINDS)
    ]
    rows = [
        [
            each["precision"],
            "–" if each["unchanged"] is None else f"{100 * each['unchanged']:.1f} %",
            value(each["recovered"]["value"], each["recovered"]),
            span(each["recovered"], each["recovered"]),
            each["recovered"]["reason"] or "–",
        ]
        for each in ladder
    ]
    heads = ["precision", "unchanged", "recovered share", "95 % interval", "undefined because"]
    return Section("The precision ladder", text, [Table("0 is retraining, 1 is the original", heads, rows)], plotted)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
