"""What the evidence cost, and which models it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unweave.report.page import Section, Table
from unweave.run.steps_log import counted

Json = Mapping[str, Any]


def section(card: Json) -> Section:
    """Seconds of each kind of model, and every model with its seed and hash."""
    cost = card["cost"]
    share = "" if cost["share"] is None else f" Unlearning took {100 * cost['share']:.1f} % of the time of retraining."
    where = counted(cost["workers"], "process", "processes")
    text = f"{cost['total']:.0f} s of training and unlearning in all, in {where}.{share}"
    seconds = Table("Seconds of one model", ["", "seconds"], [[k, _told(v)] for k, v in cost["seconds"].items()])
    rows = [
        [
            m["kind"],
            "from a file" if m["seed"] is None else str(m["seed"]),
            _told(m["seconds"]),
            "yes" if m["cached"] else "no",
            str(m["sha256"]),
        ]
        for m in card["runs"]["models"]
    ]
    models = Table("Every model, with its seed and SHA-256", ["kind", "seed", "seconds", "cached", "SHA-256"], rows)
    return Section("What the evidence cost", text, [seconds], folded=[models])


def _told(seconds: float | None) -> str:
    """Nobody knows how long a model took that came from a file."""
    return "-" if seconds is None else f"{seconds:.1f}"
