"""The attacks that try to bring back what was forgotten, on every model of every kind, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from unweave.audit.evidence_parts.pools import KINDS
from unweave.audit.robustness import Curve, half_life
from unweave.audit.runs import recovered_share
from unweave.evaluation.evidence import Evidence

METRICS = ("FA", "RA", "TA", "MIA_AUC")
SCORE = "mean p_y of the scored forget examples"


@dataclass(frozen=True)
class Relearned:
    """One source of data, and the curve of every model, by kind.

    Args:
        source: "forget", "related" or "unrelated".
        title: what the attacker is given, in words.
        learned: how many examples that is.
        scored: forget examples that are scored.
        curves: of every model.
    """

    source: str
    title: str
    learned: int
    scored: int
    curves: Mapping[str, Sequence[Curve]]

    @property
    def recovered(self) -> Evidence:
        """The recovered share of the curves' levels."""
        levels = {kind: [curve.level for curve in self.curves[kind]] for kind in KINDS}
        return recovered_share(levels["original"], levels["retrained"], levels["unlearned"])

    def part(self) -> dict[str, Any]:
        """One entry of `robustness.relearning`.

        A curve is half way where it reaches the middle between what control and original score before the attack.
        """
        steps = self.curves["original"][0].steps
        start = {kind: fmean(curve.confidence[0] for curve in self.curves[kind]) for kind in KINDS}
        halfway = (start["original"] + start["retrained"]) / 2
        lives = {kind: [half_life(steps, curve.confidence, halfway) for curve in self.curves[kind]] for kind in KINDS}
        return {
            "source": self.source,
            "title": self.title,
            "learned": self.learned,
            "scored": self.scored,
            "steps": list(steps),
            "score": SCORE,
            "curves": {kind: [list(curve.confidence) for curve in self.curves[kind]] for kind in KINDS},
            "accuracy": {kind: [list(curve.accuracy) for curve in self.curves[kind]] for kind in KINDS},
            "halfway": halfway,
            "half_life": {
                kind: {"runs": runs, "median": _median(runs, steps[-1]), "beyond": steps[-1]}
                for kind, runs in lives.items()
            },
            "recovered": self.recovered.as_dict(),
        }


@dataclass(frozen=True)
class Rounded:
    """One precision: scores of every model, by kind, and how many of the unlearned models' weights did not move."""

    precision: str
    unchanged: float | None
    scores: Mapping[str, Sequence[Mapping[str, float | None]]]
    confidence: Mapping[str, Sequence[float]]

    @property
    def recovered(self) -> Evidence:
        """The recovered share of the mean p_y of the forget set."""
        return recovered_share(*(self.confidence[kind] for kind in KINDS))

    def part(self) -> dict[str, Any]:
        """One entry of `robustness.precision`."""
        means = {kind: {q: _mean([each[q] for each in self.scores[kind]]) for q in METRICS} for kind in KINDS}
        return {
            "precision": self.precision,
            "unchanged": self.unchanged,
            "scores": means,
            "recovered": self.recovered.as_dict(),
        }


def _median(runs: Sequence[float | None], last: int) -> float | None:
    """Censored runs count as longer than all others; None where the median is one of them."""
    middle = median([last + 1.0 if each is None else each for each in runs])
    return None if middle > last else middle


def _mean(values: Sequence[float | None]) -> float | None:
    known = [x for x in values if x is not None]
    return fmean(known) if len(known) == len(values) and known else None
