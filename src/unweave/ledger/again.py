"""What earlier batches certified, read again on the model that a later one leaves."""

from __future__ import annotations

from pathlib import Path

import yaml

from unweave.data.images import Source
from unweave.ledger.begin import TOGETHER
from unweave.ledger.book import Batch, Book, Standing
from unweave.ledger.chain import Entry, Json
from unweave.ledger.ledger import Ledger, find
from unweave.run import prepare, sequence
from unweave.run.again import Again
from unweave.run.marks import Document
from unweave.run.recipe import Recipe, checked
from unweave.run.watch import Watch


def again(ledger: Ledger, batch: Batch, source: Source, watch: Watch) -> Entry | None:
    """Puts on record whether the forget clauses of every earlier certificate are still met; None if there is none.

    Each is read under the contract that it was certified under, on all of its examples.

    Args:
        ledger: whose certificates.
        batch: that has just left the last model.
        source: the data of all batches.
        watch: told which request is read.
    """
    chain, book = ledger.read()
    if any(entry.kind == "retest" and entry.body["batch"] == batch.id for entry in chain.entries):
        return None
    earlier = [each for each in book.requests.values() if each.status == "certified" and each.batch != batch.id]
    if not earlier or book.model is None:
        return None
    model = (ledger.folder / book.model["file"]).parent
    tests: list[Json] = []
    together: dict[str, Json] = {}  # by batch: its requests have one test
    for number, each in enumerate(earlier):
        watch("testing earlier requests again", number, len(earlier))
        name = str(each.batch)
        test = together.get(name) or _read(ledger, book, each, source, model, watch)
        if "together" in book.batches[name].body:
            together[name] = test
        tests.append({**test, "id": each.id})
    watch("testing earlier requests again", len(earlier), len(earlier))
    body = {"batch": batch.id, "requests": [each.id for each in earlier], "on": book.model, "tests": tests}
    return ledger.write(lambda _: ("retest", body))


def _read(ledger: Ledger, book: Book, each: Standing, source: Source, model: Path, watch: Watch) -> Json:
    """What the clauses of one request say of a model."""
    recipe = single(ledger, book, each)
    request = prepare.request(recipe, source)
    assert recipe.contract is not None
    retrained = request.reference(1, watch) if recipe.contract.asks_retrained else None
    test = Again(each.id, recipe.contract.contract(), request, retrained, recipe.run.seed)
    return test.read(request.opened(model, watch))


def single(ledger: Ledger, book: Book, each: Standing) -> Recipe:
    """The recipe that a request was carried out under, wherever the ledger lies now; together with others, of all."""
    batch = book.batches[str(each.batch)]
    content = yaml.safe_load((ledger.folder / batch.body["recipe"]["file"]).read_text(encoding="utf-8"))
    if "together" in batch.body:
        content["requests"] = [{"id": TOGETHER, "indices": str(ledger.union_file(batch.id).resolve())}]
    else:
        content["requests"] = [{"id": name, **ledger.section(find(book, name))} for name in batch.body["requests"]]
    if "gone" in batch.body:
        content["already"] = [{"indices": str(ledger.gone_file(batch.id).resolve())}]
    content["model"]["weights"] = None
    parts = sequence.parts(checked(Document(content, batch.body["recipe"]["file"]), ledger.folder))
    return next(part for part in parts if part.forget is not None and part.forget.id in (each.id, TOGETHER))
