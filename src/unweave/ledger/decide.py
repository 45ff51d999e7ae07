"""What came of each request of a batch that went to its end: its run, its records, its claim, its entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from unweave import devices, modalities
from unweave.audit.attacks import blind_baseline, forget_against_holdout
from unweave.audit.claims import Claim, Finding, claim, finding
from unweave.contract.reading import State, overall
from unweave.data.checks import check_overlap
from unweave.errors import ConfigurationError
from unweave.ledger import certificate
from unweave.ledger.begin import forgetting, named_by, takers
from unweave.ledger.book import Batch
from unweave.ledger.certificate import Carried
from unweave.ledger.chain import Entry, Json
from unweave.ledger.files import read_json
from unweave.ledger.ledger import Ledger, find
from unweave.modalities import TrainingSet
from unweave.modalities._base import Job, Membership, Rows
from unweave.recipe.recipe import Recipe
from unweave.run import sequence
from unweave.store import tensors_sha256
from unweave.watch import silent

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


@dataclass(frozen=True)
class _Decided:
    """A request: what was carried out, what can be claimed of it, its own rows, and those that it named."""

    carried: Carried
    claim: Claim
    own: Rows
    named: Rows


def decide(
    ledger: Ledger, batch: Batch, recipe: Recipe, data: TrainingSet[Any], publish: Callable[[], None]
) -> list[Entry]:
    """Puts a certificate or a rejection on record for each request that was carried out and has none yet.

    Args:
        ledger: whose requests.
        batch: that they are in.
        recipe: of the batch.
        data: that all batches are of.
        publish: called after every entry.
    """
    folder = ledger.folder / "runs" / batch.id
    path = folder / sequence.FILE
    done = read_json(path)["requests"] if path.is_file() else []
    together = batch.body.get("together") is not None
    each = (_together if together else _each)(ledger, batch, recipe, data, folder, done)
    return [_record(ledger, recipe, data, decided, publish) for decided in each]


def _each(
    ledger: Ledger, batch: Batch, recipe: Recipe, data: TrainingSet[Any], folder: Path, done: list[Json]
) -> Iterator[_Decided]:
    """One run for each request."""
    rejected = np.zeros(0, dtype=np.int64)  # rows of those requests of this batch that were
    for number, (told, single) in enumerate(zip(done, sequence.parts(recipe), strict=False), 1):
        name, named = told["id"], data.named(single)
        if find(ledger.read()[1], name).waits:
            job = data.job(single)
            own = data.rows(job)
            retest = next(test for test in done[-1]["retests"] if test["id"] == name)
            places = folder / f"{number:02d}-{name}", folder / told["directory"]
            short = len(np.intersect1d(np.setdiff1d(named, own), rejected))
            carried = Carried(name, batch.id, told, retest, *places, short)
            yield _Decided(carried, _claim(carried, data, job, recipe), own, named)
        if find(ledger.read()[1], name).status == "rejected":
            rejected = np.union1d(rejected, named)


def _together(
    ledger: Ledger, batch: Batch, recipe: Recipe, data: TrainingSet[Any], folder: Path, done: list[Json]
) -> Iterator[_Decided]:
    """One run for all of them."""
    if not done:
        return
    told, place = done[0], folder / done[0]["directory"]
    union, names = data.job(sequence.parts(recipe)[0]), batch.body["requests"]
    rows = data.rows(union)
    whole = Carried("", batch.id, told, told["retests"][0], place, place, of=(len(rows), len(names)))
    claim = _claim(whole, data, union, recipe)
    for name in names:
        if not (standing := find(ledger.read()[1], name)).waits:
            continue
        named = data.named(recipe.model_copy(update={"forget": forgetting(ledger, standing, modalities.of(recipe))}))
        yield _Decided(replace(whole, request=name), claim, np.intersect1d(named, rows), named)


def _claim(carried: Carried, data: TrainingSet[Any], job: Job, recipe: Recipe) -> Claim:
    model = job.opened(carried.last, silent)
    if (found := tensors_sha256(model.state_dict())) != (known := carried.weights["after"]):
        raise ConfigurationError(
            f"{carried.last / 'model'}: expected the model that the run left, weights {known[:12]}..., found others, "
            f"{found[:12]}...: put it back, or give the batch up with --abandon"
        )
    model = model.to(devices.chosen(recipe.run.device))
    return claim_of(carried, data, job, model, recipe.run.seed)


def _record(
    ledger: Ledger, recipe: Recipe, data: TrainingSet[Any], each: _Decided, publish: Callable[[], None]
) -> Entry:
    carried, own, book = each.carried, each.own, ledger.read()[1]
    earlier = takers(ledger, book, np.setdiff1d(each.named, own), recipe, data)
    mac = ledger.key.records(carried.request, data.digests(own))
    records = {"count": len(own), "hmac": mac, "key": ledger.key.name}
    records |= named_by(find(book, carried.request), len(each.named)) | ({"earlier": earlier} if earlier else {})
    made = certificate.body(carried, ledger.folder, records, each.claim)
    entry = ledger.write(lambda book: made)
    publish()
    return entry
