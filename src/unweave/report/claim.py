"""The claim on the page: from the evidence file, or, without one, what a single run supports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unweave.audit.claims import CLAIMS, RUNGS, Finding, claim
from unweave.audit.findings import kept

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Shown:
    """A claim as the page needs it.

    Args:
        level: "E0" to "E4"; None where not even E0 is supported.
        text: what it says.
        against: what refutes the method.
        missing: what would lift it one step.
        looked: what was looked at and supports it.
    """

    level: str | None
    text: str
    against: Sequence[str]
    missing: Sequence[str]
    looked: Sequence[str] = ()

    @property
    def next(self) -> str | None:
        """The next rung."""
        place = -1 if self.level is None else RUNGS.index(self.level)
        return RUNGS[place + 1] if place + 1 < len(RUNGS) else None


def of_card(card: Json) -> Shown | None:
    """As the evidence file says; None as long as it does not."""
    found = card.get("claim")
    if not found:
        return None
    looked = [item["says"] for item in found["items"] if item["finding"] == "supports"]
    level = found["level"]
    return Shown(level, CLAIMS[level], found["against"], [_plain(text) for text in found["missing"]], looked)


def of_run(summary: Json, scores: Json) -> Shown:
    """What one run supports: E0, as its attack has no blind baseline beside it."""
    clauses = summary["contract"]
    keeps = [row for row in clauses if row["side"] == "keep"]
    broken = any("not finite" in (score["reason"] or "") for score in scores["models"]["unlearned"].values())
    ran = summary["status"] == "done" and summary["model_before"] != summary["model_after"] and not broken
    found: dict[str, Finding] = {"ran": "supports" if ran else "refutes" if broken else "undecided"}
    near = any(text.startswith("near-duplicates") for text in summary["warnings"])
    found["disjoint"] = "undecided" if near else "supports"  # a run refuses examples that are in both sets
    if keeps:
        found["utility"] = kept(keeps)
    if clauses:
        found["budget"] = kept(clauses)
    retrained = sum(name in scores["models"] for name in ("retrained", "retrained again"))
    made = asdict(claim(found, retrained=retrained))
    return Shown(made["level"], CLAIMS[made["level"]], made["against"], [_plain(text) for text in made["missing"]])


def _plain(text: str) -> str:
    """A sentence of the ladder without the marks of code."""
    return text.removeprefix("that ").replace("`", "")
