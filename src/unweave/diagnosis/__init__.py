"""How hard a request is and what it will cost, before anything is changed."""

from unweave.diagnosis.conflict import Conflict, conflict
from unweave.diagnosis.examples import Along, along, forecast, log_odds
from unweave.diagnosis.hardness import (
    Verdict,
    cosine,
    feasible_quota,
    free_share,
    front,
    kappa,
    thresholds,
    validity,
    verdict,
)
from unweave.diagnosis.measure import diagnose, sampled
from unweave.diagnosis.quote import Block, Cost, Diagnosis, Example, Forecast, Group, Point, Range, Suggestion

__all__ = [
    "Along",
    "Block",
    "Conflict",
    "Cost",
    "Diagnosis",
    "Example",
    "Forecast",
    "Group",
    "Point",
    "Range",
    "Suggestion",
    "Verdict",
    "along",
    "conflict",
    "cosine",
    "diagnose",
    "feasible_quota",
    "forecast",
    "free_share",
    "front",
    "kappa",
    "log_odds",
    "sampled",
    "thresholds",
    "validity",
    "verdict",
]
