"""Example by example: how well each model knows what was to be forgotten, and what the quote had said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unweave.report import plots
from unweave.report.page import Gallery, Picture, Plot, Section, Table, number

Json = Mapping[str, Any]
NAMES = ("original", "unlearned", "retrained", "unseen")


def sections(examples: Json | None) -> list[Section]:
    """The distribution over the forget set and its worst ten; nothing for a run that kept no examples."""
    if examples is None or not examples.get("distribution"):
        return []
    known = {name: [v for v in examples["distribution"].get(name, ()) if v is not None] for name in NAMES}
    samples = {name: values for name, values in known.items() if values}
    text = (
        "An average can hide single records. Log-odds of an error, in nats: far below 0 a model is sure of the true "
        "answer, above 0 it is wrong. Forgotten well, the unlearned model's curve lies on the retrained model's."
    )
    found = []
    if samples:
        drawing = plots.ecdf("Every forget example under every model", samples, x="log-odds of an error, nats")
        caption = "Curves to the left know more." + (
            " Unseen: examples of the same labels that no model was trained on, under the unlearned model."
            if "unseen" in samples
            else ""
        )
        found.append(Plot(drawing, caption))
    return [Section("Example by example", text, plots=found, galleries=_worst(examples.get("worst", ())))]


def _worst(worst: Any) -> list[Gallery]:
    if not worst:
        return []
    compared = worst[0].get("retrained") is not None
    title = f"The worst {len(worst)}: forget examples that the unlearned model knows best"
    title += ", compared with the retrained model" if compared else ""
    return [Gallery(title, [picture(each) for each in worst])]


def picture(example: Json) -> Picture:
    """One example with what the models say of it: an image, or its text."""
    predicted = "" if example.get("predicted") is None else f", predicted {example['predicted']:+.2g}"
    label = f", label {example['label']}" if "label" in example else ""
    said = f"row {example['row']}{label}{predicted}"
    said += f": {_odds(example['before'])} to {_odds(example['after'])}"
    if example.get("retrained") is not None:
        said += f"; retrained {_odds(example['retrained'])}"
    return Picture(example.get("png") or "", said, str(example.get("text") or ""))


def _odds(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"


def quoted(quote: Json | None, examples: Json | None) -> list[Section]:
    """What was quoted before the run and what happened; nothing where a run was not quoted."""
    if quote is None:
        return []
    verdict, suggestion = quote["verdict"], quote["suggestion"]
    text = f"Before the run: {verdict['level']}. {verdict['reason']} Suggested: {suggestion['method'] or 'no method'}, "
    text += f"{suggestion['why']}."
    tables = [_costs(quote), _groups("forget", quote["groups"]), _groups("retain", quote["paying_groups"])]
    return [
        Section(
            "The quote and what came of it",
            text,
            [tables[0]],
            [] if examples is None else _front(quote["front"], examples["reached"]),
            [] if examples is None else _galleries(examples),
            [table for table in tables[1:] if table.rows],
        )
    ]


def _costs(quote: Json) -> Table:
    rows = []
    for name in ("run", "retrain", "scoring"):
        if (cost := quote.get(name)) is None:
            continue
        memory = "–" if cost["memory_bytes"] is None else f"{number(cost['memory_bytes'] / 2**20, 0)} MiB"
        rows.append([name, number(cost["seconds"], 1), memory, cost["basis"]])
    return Table("Quoted costs", ["", "seconds", "peak memory", "basis"], rows)


def _groups(side: str, groups: Sequence[Json]) -> Table:
    what = "hardness" if side == "forget" else "price"
    rows = [[str(g["name"]), str(g["examples"]), number(g["mean"]), number(g["error"])] for g in groups]
    return Table(f"Predicted {what} by group of the {side} set", ["group", "examples", what, "standard error"], rows)


def _front(points: Sequence[Json], reached: Json) -> list[Plot]:
    rays = {f"{100 * p['share']:.0f} % of the fastest": p["price"] for p in points if p["price"] is not None}
    drawing = plots.rays(
        "Forgetting against utility",
        rays,
        plots.Point("reached", reached["forget"], reached["retain"]),
        x="rise of the forget set's log-odds of an error, nats",
        y="rise of the retain set's, nats",
    )
    text = (
        "Lines: the least retain cost of forgetting at a share of the fastest rate, to first order at the original. "
        "The point: where the run ended. Below the lines it did better than one long step could."
    )
    return [Plot(drawing, text)]


def _galleries(examples: Json) -> list[Gallery]:
    hardest = (
        "The hardest to forget, by the quote (hardness: its cosine's share); log-odds of an error before and after."
    )
    paid = (
        f"Those of {examples['retain_examples']} retained examples that paid most; log-odds of an error before "
        "and after."
    )
    return [
        Gallery(text, [picture(e) for e in examples[name]])
        for name, text in (("hardest", hardest), ("paid", paid))
        if examples[name]
    ]
