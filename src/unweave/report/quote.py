"""The quote on the page: what was predicted, what came of it, and the examples that it was about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unweave.report import plots
from unweave.report.examples import picture
from unweave.report.page import Gallery, Plot, Section, Table, number

Json = Mapping[str, Any]


def sections(quote: Json | None, examples: Json | None) -> list[Section]:
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
    for name in ("run", "retrain"):
        cost = quote[name]
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
