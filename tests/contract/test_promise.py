"""The promise itself, over many runs: no run ends in a state that breaks a keep clause on the guard set."""

from __future__ import annotations

from itertools import product

import torch

from tests._toys import weights
from tests.contract._runs import Run, bound
from unweave.contract import Contract, Forget, Keep

METHODS = ("hamu_q", "unilateral_surgery", "eupmu", "graddiff", "gradient_ascent", "scrub")
LIMITS = {"accuracy": Keep("accuracy", absolute=0.12), "loss": Keep("loss", absolute=0.05, clip=0.3)}
STEPS = {"trust": None, "sgd": 0.05}


def test_no_run_of_the_suite_breaks_a_limit() -> None:
    """Measured anew, by a plain forward pass; the runs break limits on their way, or the test would say nothing."""
    runs = violations = rolled_back = moved = 0
    reasons: set[str] = set()
    for method, (metric, clause), (_, lr), seed in product(METHODS, LIMITS.items(), STEPS.items(), (0, 1)):
        run = Run(Contract([clause], [Forget("accuracy", at_most=0.4)], every=3), method, lr=lr, seed=seed)
        result = run.go(18)
        assert result.contract is not None and all(p.isfinite().all() for p in result.model.parameters())
        runs += 1
        violations += bound(run, result, metric) > clause.limit
        rolled_back += result.contract.rollbacks > 0
        moved += not all(map(torch.equal, weights(result.model), weights(run.original)))
        reasons.add(result.reason.partition(" (")[0])
        assert result.contract.kept
    assert runs == 48 and violations == 0
    assert rolled_back >= 8 and moved >= 40 and {"contract met", "budget used up", "steps used up"} <= reasons
