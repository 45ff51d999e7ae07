"""The run, step by step: both objectives, hardness, which branch of the rule was taken, the trust region."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from unweave.report import plots
from unweave.report.page import Plot, Section
from unweave.run.steps_log import counted

Json = Mapping[str, Any]
PHASES = {"push": "pushed", "repair": "repaired the retain side", "lost": "won back what a repair had lost"}


def section(summary: Json, steps: Sequence[Json]) -> Section:
    """What `steps.jsonl` says."""
    lost = f"{summary['rejected']} rolled back, {summary['skipped']} skipped as not finite"
    taken = counted(summary["steps"], "step", "steps")
    text = f"{taken} in {summary['seconds']:.1f} s ({lost}). {_phases(steps)}The end: {summary['stop_reason']}."
    return Section("The run", text, plots=drawn(steps) if steps else [])


def _phases(steps: Sequence[Json]) -> str:
    """How many steps each phase took, in a run that repairs."""
    counts = Counter(phase for row in steps if (phase := row.get("phase")))
    said = [f"{counts[phase]} {what}" for phase, what in PHASES.items() if counts[phase]]
    return f"Of the steps {', '.join(said)}. " if said else ""


def drawn(steps: Sequence[Json], of: str = "") -> list[Plot]:
    """The curves over the steps; `of` ends their titles where a page has several runs."""
    x = [row["step"] for row in steps]
    found = []
    for i, side in enumerate(("forget", "retain")):
        drawing = plots.lines(f"The {side} objective{of}", x, {side: [row["losses"][i] for row in steps]}, y="loss")
        found.append(Plot(drawing, "On the examples of each step, before it; both objectives are minimised."))
    hardness = {"cosine": [row["cosine"] for row in steps], "κ / κ₂": [row.get("kappa_ratio") for row in steps]}
    hardness = {name: values for name, values in hardness.items() if any(v is not None for v in values)}
    if hardness:
        text = (
            "Cosine below 0: the two gradients conflict. κ / κ₂ above 1: improving the guaranteed side (forget; of "
            "HAMU-U retain) this much must cost the other."
        )
        drawing = plots.lines(f"Hardness of each step{of}", x, hardness, y="", levels_at={"zero": 0.0})
        found.append(Plot(drawing, text))
    found += _branches(steps)
    radius = [row.get("radius") for row in steps]
    if any(value is not None for value in radius):
        text = "Length of the step that the trust region allowed."
        found.append(Plot(plots.lines("Radius", x, {"radius": radius}, y="length"), text))
    return found


def _branches(steps: Sequence[Json]) -> list[Plot]:
    told = [row for row in steps if row.get("branches")]
    names = sorted({name for row in told for name in row["branches"]})
    if not names:
        return []
    counts: list[Counter[str]] = [Counter(row["branches"]) for row in told]
    parts = {name: [count[name] / count.total() for count in counts] for name in names}
    drawing = plots.shares("Branches of the rule", [row["step"] for row in told], parts, y="share of the blocks")
    return [Plot(drawing, "Which case of its closed form the rule was in, over the blocks of parameters.")]
