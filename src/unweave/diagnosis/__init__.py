"""How hard a request is and what it will cost, before anything is changed."""

from unweave.diagnosis.hardness import (
    Verdict,
    cosine,
    feasible_quota,
    free_share,
    front,
    kappa,
    thresholds,
    verdict,
)
from unweave.diagnosis.measure import diagnose
from unweave.diagnosis.quote import Block, Diagnosis, Point

__all__ = [
    "Block",
    "Diagnosis",
    "Point",
    "Verdict",
    "cosine",
    "diagnose",
    "feasible_quota",
    "free_share",
    "front",
    "kappa",
    "thresholds",
    "verdict",
]
