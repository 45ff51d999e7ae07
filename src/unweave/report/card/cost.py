"""What the evidence cost, and which models it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unweave.report.page import Section, Table, counted

Json = Mapping[str, Any]


def section(card: Json) -> Section:
    """Seconds of each kind of model, and every model with its seed and hash."""
    cost = card["cost"]
    share = "" if cost["share"] is None else f" Unlearning took {100 * cost['share']:.1f} % of the time of retraining."
    where = counted(cost["workers"], "process", "processes")
    text = f"{cost['total']:.0f} s of training and unlearning in all, in {where}.{share}"
    seconds = Table("Seconds of one model", ["", "seconds"], [[k, f"{v:.1f}"] for k, v in cost["seconds"].items()])
    rows = [
        [m["kind"], str(m["seed"]), f"{m['seconds']:.1f}", "yes" if m["cached"] else "no", str(m["sha256"])]
        for m in card["runs"]["models"]
    ]
    models = Table("Every model, with its seed and SHA-256", ["kind", "seed", "seconds", "cached", "SHA-256"], rows)
    return Section("What the evidence cost", text, [seconds], folded=[models])
