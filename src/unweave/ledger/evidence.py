"""What one run alone says of the items of the claim ladder: E1 at best. More needs more trainings, or coins."""

from __future__ import annotations

from typing import Any

from torch import nn

from unweave.audit.attacks import blind_baseline, forget_against_holdout
from unweave.audit.claims import Claim, Finding, claim, finding
from unweave.contract.reading import State, overall
from unweave.data.checks import check_overlap
from unweave.errors import ConfigurationError
from unweave.ledger.certificate import Carried
from unweave.modalities import TrainingSet
from unweave.modalities._base import Job, Membership

_SAYS: dict[State, Finding] = {"met": "supports", "missed": "refutes", "undecided": "undecided"}


def claim_of(carried: Carried, data: TrainingSet[Any], job: Job, model: nn.Module, seed: int) -> Claim:
    """The strongest claim that a request's own run supports.

    The attack reads the loss on the forget set and on that part of the holdout which did not steer the run.

    Args:
        carried: what came of the request.
        data: that it is of.
        job: its own.
        model: as it is after the request.
        seed: of the run.
    """
    found = _of_contract(carried) | _attacked(data.membership(job, model, seed))
    found["disjoint"] = _disjoint(data, job)
    return claim(found)


def _of_contract(carried: Carried) -> dict[str, Finding]:
    """Whether the run went to its end, and what its clauses say."""
    keep = [clause for clause in carried.clauses if clause["side"] == "keep"]
    changed = carried.weights["before"] != carried.weights["after"]
    return {
        "ran": "refutes" if carried.status != "done" else "supports" if changed else "undecided",
        "utility": _SAYS[overall(keep)] if keep else "undecided",
        "budget": "refutes" if carried.reason else "undecided" if carried.unshown else "supports",
    }


def _attacked(read: Membership | None) -> dict[str, Finding]:
    if read is None:
        return {}
    attack, blind = forget_against_holdout(read.forget, read.holdout, fpr=()), blind_baseline(*read.blind)
    return {"holdout_attack": finding(attack.auc), "blind_baseline": finding(blind.evidence)}


def _disjoint(data: TrainingSet[Any], job: Job) -> Finding:
    """Images bit for bit, texts word for word; near copies are the guards' business."""
    try:
        for other in data.apart(job):
            check_overlap(job.forget, other)
    except ConfigurationError:
        return "refutes"
    return "supports"
