"""What earlier batches certified, read again on the model that a later one leaves."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import nn

from unweave import devices
from unweave.ledger import files
from unweave.ledger.begin import TOGETHER
from unweave.ledger.book import Batch, Book, Standing
from unweave.ledger.chain import Entry, Json
from unweave.ledger.ledger import Ledger, find
from unweave.modalities import TrainingSet, checked
from unweave.modalities._base import Job
from unweave.recipe.recipe import Recipe
from unweave.recipe.yaml_lines import Document, load
from unweave.run import sequence
from unweave.run.retest import Retest
from unweave.watch import Watch


def again(ledger: Ledger, batch: Batch, data: TrainingSet[Any], watch: Watch) -> Entry | None:
    """Puts on record whether the forget clauses of every earlier certificate are still met; None if there is none.

    Each is read under the contract that it was certified under, on all of its examples.

    Args:
        ledger: whose certificates.
        batch: that has just left the last model.
        data: that all batches are of.
        watch: told which request is read.
    """
    chain, book = ledger.read()
    if any(entry.kind == "retest" and entry.body["batch"] == batch.id for entry in chain.entries):
        return None
    earlier = [each for each in book.requests.values() if each.issued and each.batch != batch.id]
    if not earlier or book.model is None:
        return None
    model = files.folder_of(ledger.folder, book.model)
    tests: list[Json] = []
    left: nn.Module | None = None  # opened once: it may be large
    together: dict[str, Json] = {}  # by batch: its requests have one test
    for number, each in enumerate(earlier):
        watch("testing earlier requests again", number, len(earlier))
        name = str(each.batch)
        test = together.get(name)
        if test is None:
            recipe = single(ledger, book, each, model)
            job = data.job(recipe)
            left = left or job.opened(model, watch).to(devices.chosen(recipe.run.device))
            test = _test(each.id, recipe, job, watch).read(left)
        if "together" in book.batches[name].body:
            together[name] = test
        tests.append({**test, "id": each.id})
    watch("testing earlier requests again", len(earlier), len(earlier))
    body = {"batch": batch.id, "requests": [each.id for each in earlier], "on": book.model, "tests": tests}
    return ledger.write(lambda _: ("retest", body))


def _test(name: str, recipe: Recipe, job: Job, watch: Watch) -> Retest:
    """The forget clauses of one request."""
    assert recipe.contract is not None
    retrained = job.reference(1, watch) if recipe.contract.asks_retrained else None
    return Retest(name, recipe.contract.contract(), job, retrained, recipe.run.seed)


def single(ledger: Ledger, book: Book, each: Standing, model: Path | None = None) -> Recipe:
    """The recipe that a request was carried out under, wherever the ledger lies now; together with others, of all.

    Args:
        ledger, book: with the request.
        each: the request.
        model: the folder of the one to read; None: no weights are named.
    """
    batch = book.batches[str(each.batch)]
    content = deepcopy(load(ledger.folder / batch.body["recipe"]["file"]).content)
    if "together" in batch.body:
        content["requests"] = [{"id": TOGETHER, "indices": str(ledger.union_file(batch.id).resolve())}]
    else:
        content["requests"] = [{"id": name, **ledger.section(find(book, name))} for name in batch.body["requests"]]
    if "gone" in batch.body:
        content["already"] = [{"indices": str(ledger.gone_file(batch.id).resolve())}]
    content["model"]["weights"] = None if model is None else str(model.resolve())
    parts = sequence.parts(checked(Document(content, batch.body["recipe"]["file"]), ledger.folder))
    part = next(part for part in parts if part.forget is not None and part.forget.id in (each.id, TOGETHER))
    return part if model is None else sequence.continued(part, model.resolve())
