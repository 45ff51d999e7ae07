"""What one run alone says of the items of the claim ladder: E1 at best. More needs more trainings, or coins."""

from __future__ import annotations

from torch import nn

from unweave.contract.sets import halves
from unweave.data.checks import check_overlap
from unweave.errors import ConfigurationError
from unweave.evaluation.attacks import blind_baseline, forget_against_holdout, signals
from unweave.evaluation.claims import Claim, Finding, claim, finding
from unweave.evaluation.outputs import Data, predict
from unweave.evaluation.value import Array
from unweave.ledger.certificate import Carried
from unweave.run.prepare import Request


def claim_of(carried: Carried, request: Request, model: nn.Module, seed: int) -> Claim:
    """The strongest claim that a request's own run supports.

    The attack reads the loss on the forget set and on that half of the holdout which did not steer the run.

    Args:
        carried: what came of the request.
        request: its data.
        model: as it is after the request.
        seed: of the run.
    """
    found = _of_contract(carried) | _attacked(request, model, seed)
    found["disjoint"] = _disjoint(request)
    return claim(found)


def _of_contract(carried: Carried) -> dict[str, Finding]:
    """Whether the run went to its end, and what its clauses say."""
    keep = [clause["met"] for clause in carried.clauses if clause["side"] == "keep"]
    changed = carried.weights["before"] != carried.weights["after"]
    return {
        "ran": "refutes" if carried.status != "done" else "supports" if changed else "undecided",
        "utility": "undecided" if not keep else "supports" if all(keep) else "refutes",
        "budget": "refutes" if carried.reason else "supports",
    }


def _attacked(request: Request, model: nn.Module, seed: int) -> dict[str, Finding]:
    if request.holdout is None:
        return {}
    rows = halves(request.holdout, seed)[1]
    holdout = request.holdout if rows is None else request.holdout.subset(rows)
    attack = forget_against_holdout(_losses(request, model, request.forget), _losses(request, model, holdout), fpr=())
    blind = blind_baseline(request.forget.images.numpy(), holdout.images.numpy())
    return {"holdout_attack": finding(attack.auc), "blind_baseline": finding(blind.evidence)}


def _losses(request: Request, model: nn.Module, data: Data) -> Array:
    outputs = predict(model, request.task, data)
    return signals(outputs.logits.numpy(), outputs.labels.numpy())["loss"]


def _disjoint(request: Request) -> Finding:
    """Bit for bit; near copies are the guards' business."""
    try:
        for other in (request.retain, request.test):
            check_overlap(request.forget, other)
    except ConfigurationError:
        return "refutes"
    return "supports"
