"""The plane of forgetting and utility: where the models are, and how the run came there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unweave.modalities import MODALITIES
from unweave.report import plots
from unweave.report.numbers import gap_tables, models_of, score_table
from unweave.report.page import Plot, Section

Json = Mapping[str, Any]


def section(summary: Json, scores: Json) -> Section:
    """All scores, and the plane where there are accuracies."""
    text = (
        "A retrained model is what exact forgetting would give, so the target is its value, not zero: recognising "
        "fewer of the forgotten examples than a model that never saw them is a trace of its own."
    )
    return Section(
        "What was forgotten, what was kept",
        text,
        [score_table(scores, everything=False), *gap_tables(scores)],
        _plane(summary, scores),
        folded=[score_table(scores, everything=True)],
    )


def budget(summary: Json) -> float | None:
    """Points of accuracy that the contract lets the model lose; None without such a clause."""
    found = [
        row["limit"]
        for row in summary["contract"]
        if row["side"] == "keep" and row.get("metric") == "accuracy" and row["group"] is None
    ]
    return None if not found else 100 * min(found)


def _plane(summary: Json, scores: Json) -> list[Plot]:
    models = {name: scores["models"][name] for name in models_of(scores)}
    planes = [kind.front.plane for kind in MODALITIES.values() if kind.front.plane]
    plane = next((each for each in planes if all(name in model for model in models.values() for name in each)), None)
    if plane is None:
        return []
    (forgetting, x), (keeping, y) = plane.items()
    if (start := models.get("original", {}).get(keeping, {}).get("value")) is None:
        return []
    points = []
    for name, model in models.items():
        forget, kept = model[forgetting]["value"], model[keeping]
        if forget is not None and kept["value"] is not None:
            ends = [None if kept[end] is None else 100 * (kept[end] - start) for end in ("low", "high")]
            points.append(plots.Point(name, 100 * forget, 100 * (kept["value"] - start), *ends))
    if not points:
        return []
    way, limit = _path(summary, points[0]), budget(summary)
    drawing = plots.plane(
        "Forgetting and utility", points, x=x, y=y, path=way, budget=None if limit is None else -limit
    )
    text = "The closer to the retrained model, the better. Vertical lines: 95 % intervals over examples."
    if way:
        text += (
            " The run's path: its states on the guard set, with the bound on the loss that decides under the contract."
        )
    return [Plot(drawing, text)]


def _path(summary: Json, origin: plots.Point) -> list[plots.Point]:
    looks: Sequence[Json] = (summary.get("contract_reading") or {}).get("path", ())
    found = [
        plots.Point(
            f"after step {look['step']}",
            100 * look["forget_accuracy"],
            -100 * look["lost"],
            None if look["bound"] is None else -100 * look["bound"],
        )
        for look in looks
        if look.get("forget_accuracy") is not None and look.get("lost") is not None
    ]
    return [plots.Point("at the start", origin.x, 0.0), *found] if found else []
