"""Every score that a command prints, by where it is printed: what it is, whatever its value."""

from __future__ import annotations

from collections.abc import Iterable

from unweave.audit import robustness, runs
from unweave.audit.attacks import divergence, epsilon, forgetting, permutation, population, ulira
from unweave.audit.canaries import verdict
from unweave.audit.evidence_parts.attacks import ABOVE
from unweave.evaluation.metric import Metric
from unweave.modalities import MODALITIES

_TAILS = (metric for rate in population.RATES for metric in population.tail_metrics(rate))


def _named(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


EVERY = {
    **{each.name: dict(each.metrics) for each in MODALITIES.values()},
    "evidence: gaps": _named(*runs.GAPS),
    "evidence: examples": _named(*permutation.OVERALL.values(), *permutation.EACH),
    "evidence: attacks": _named(population.BLIND, population.AUC, population.DIFFERENCE, ABOVE, *_TAILS),
    "evidence: two pools": _named(
        *(ulira.AUC, ulira.WORST, ulira.TAIL, divergence.KLOM, forgetting.FORGETTING, epsilon.EPSILON, epsilon.CEILING)
    ),
    "evidence: robustness": _named(
        *(runs.RECOVERED, robustness.CONFIDENCE, robustness.ACCURACY, robustness.HALF_LIFE, robustness.UNCHANGED)
    ),
    "audit": _named(verdict.AUC, verdict.HITS, verdict.EPSILON),
}
"""Where it is printed -> name -> metric. No name is there twice."""
METRICS = {name: metric for metrics in EVERY.values() for name, metric in metrics.items()}
"""The same by name alone."""


def described(names: Iterable[str]) -> dict[str, dict[str, object]]:
    """What the scores of these names are, ready for JSON; of names that are no score's, nothing."""
    return {name: METRICS[name].as_dict() for name in names if name in METRICS}
