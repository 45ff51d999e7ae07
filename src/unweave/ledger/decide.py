"""What came of each request of a batch that went to its end: its run, its records, its claim, its entry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unweave.data.images import Source
from unweave.evaluation.claims import Claim
from unweave.ledger import certificate
from unweave.ledger.begin import forgetting
from unweave.ledger.book import Batch
from unweave.ledger.certificate import Carried
from unweave.ledger.chain import Entry, Json
from unweave.ledger.evidence import claim_of
from unweave.ledger.ledger import Ledger, find
from unweave.run import prepare, sequence
from unweave.run.prepare import Request
from unweave.run.recipe import Recipe


@dataclass(frozen=True)
class _Decided:
    """A request: what was carried out, what can be claimed of it, its own records, and how many of them it named."""

    carried: Carried
    claim: Claim
    own: Request
    named: int


def decide(ledger: Ledger, batch: Batch, recipe: Recipe, source: Source, publish: Callable[[], None]) -> list[Entry]:
    """Puts a certificate or a rejection on record for each request that was carried out and has none yet.

    Args:
        ledger: whose requests.
        batch: that they are in.
        recipe: of the batch.
        source: its data.
        publish: called after every entry.
    """
    folder = ledger.folder / "runs" / batch.id
    path = folder / sequence.FILE
    done = json.loads(path.read_text(encoding="utf-8"))["requests"] if path.is_file() else []
    together = batch.body.get("together") is not None
    found = (
        _together(ledger, batch, recipe, source, folder, done)
        if together
        else _each(ledger, batch, recipe, source, folder, done)
    )
    return [_record(ledger, each, publish) for each in found]


def _each(
    ledger: Ledger, batch: Batch, recipe: Recipe, source: Source, folder: Path, done: list[Json]
) -> Iterator[_Decided]:
    """One run for each request."""
    rejected = np.zeros(0, dtype=np.int64)  # rows of those requests of this batch that were
    for number, (told, single) in enumerate(zip(done, sequence.parts(recipe), strict=False), 1):
        name, request = told["id"], prepare.request(single, source)
        named = prepare.request(single.model_copy(update={"already": ()}), source).split.forget
        if find(ledger.read()[1], name).waits:
            retest = next(test for test in done[-1]["retests"] if test["id"] == name)
            places = folder / f"{number:02d}-{name}", folder / told["directory"]
            short = len(np.intersect1d(np.setdiff1d(named, request.split.forget), rejected))
            carried = Carried(name, batch.id, told, retest, *places, short)
            claim = claim_of(carried, request, request.opened(carried.last), recipe.run.seed)
            yield _Decided(carried, claim, request, len(named))
        if find(ledger.read()[1], name).status == "rejected":
            rejected = np.union1d(rejected, named)


def _together(
    ledger: Ledger, batch: Batch, recipe: Recipe, source: Source, folder: Path, done: list[Json]
) -> Iterator[_Decided]:
    """One run for all of them."""
    if not done:
        return
    told, place = done[0], folder / done[0]["directory"]
    union, names = prepare.request(sequence.parts(recipe)[0], source), batch.body["requests"]
    whole = Carried("", batch.id, told, told["retests"][0], place, place, of=(len(union.forget), len(names)))
    claim = claim_of(whole, union, union.opened(place), recipe.run.seed)
    for name in names:
        if not (standing := find(ledger.read()[1], name)).waits:
            continue
        one = recipe.model_copy(update={"requests": (), "forget": forgetting(ledger, standing)})
        own, named = (prepare.request(each, source) for each in (one, one.model_copy(update={"already": ()})))
        yield _Decided(replace(whole, request=name), claim, own, len(named.forget))


def _record(ledger: Ledger, each: _Decided, publish: Callable[[], None]) -> Entry:
    carried, own = each.carried, each.own
    mac = ledger.key.records(carried.request, certificate.digests(own.forget))
    records = {"named": each.named, "count": len(own.forget), "hmac": mac, "key": ledger.key.name}
    made = certificate.body(carried, ledger.folder, records, each.claim)
    entry = ledger.write(lambda book: made)
    publish()
    return entry
