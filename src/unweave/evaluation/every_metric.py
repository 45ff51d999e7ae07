"""Every score that a command prints, by where it is printed: what it is, whatever its value."""

from __future__ import annotations

from collections.abc import Iterable

from unweave.evaluation.attacks import blind, divergence, epsilon, forgetting, population, ulira
from unweave.evaluation.audit import verdict
from unweave.evaluation.runs import recovered
from unweave.evaluation.sheet_metrics import SHEET
from unweave.evaluation.text.metrics import SHEET as TEXTS

_EVIDENCE = (
    *(blind.BLIND, population.AUC, population.DIFFERENCE, ulira.AUC, ulira.WORST, ulira.TAIL, divergence.KLOM),
    *(forgetting.FORGETTING, epsilon.EPSILON, recovered.RECOVERED, verdict.AUC, verdict.HITS, verdict.EPSILON),
)
EVERY = {
    "images": SHEET,
    "texts": TEXTS,
    "evidence and audit": {metric.name: metric for metric in _EVIDENCE},
}
"""Where it is printed -> name -> metric. No name is there twice."""
METRICS = {name: metric for metrics in EVERY.values() for name, metric in metrics.items()}
"""The same by name alone."""


def described(names: Iterable[str]) -> dict[str, dict[str, object]]:
    """What the scores of these names are, ready for JSON; of names that are no score's, nothing."""
    return {name: METRICS[name].as_dict() for name in names if name in METRICS}
