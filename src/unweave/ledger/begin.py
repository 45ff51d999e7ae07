"""The recipe of a batch: what the user asks for, with the requests, the model and the rows that the ledger knows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unweave import modalities
from unweave.errors import ConfigurationError
from unweave.ledger.book import UNSHOWN, Batch, Book, Standing
from unweave.ledger.chain import Entry, Json, canonical
from unweave.ledger.files import ADAPTER, told, unlike
from unweave.ledger.ledger import Ledger, find
from unweave.modalities import TrainingSet, checked, training_set
from unweave.modalities._base import Rows
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import ForgetSection
from unweave.recipe.yaml_lines import Document
from unweave.run import sequence
from unweave.store import atomically

TOGETHER = "together"
TAKEN = ("forget", "requests", "already", "output", "environment")  # the ledger says these, not the recipe

_HINT = "reject what cannot be carried out with `unweave requests reject ID`, or name the others to run"


def digest(asked: Document) -> str:
    """Of what the user asks for."""
    return hashlib.sha256(asked.to_json().encode()).hexdigest()


def begin(
    ledger: Ledger, asked: Document, folder: Path, names: Sequence[str], asked_for: str, together: bool = False
) -> tuple[list[Entry], Batch | None]:
    """Puts a batch on record, once it is known that every request in it names something.

    A request all of whose records were certified before is covered by those certificates, and on record as that. One
    all of whose records an earlier request of this batch takes waits for what becomes of that.

    Args:
        ledger: whose open requests.
        asked: the recipe without `forget`.
        folder: that its relative paths are relative to.
        names: of the requests; none: all open ones.
        asked_for: digest of what the user asked for.
        together: as one request of the sequence.

    Returns:
        Those that are covered, and the batch of the others; None if there is nothing left to carry out.

    Raises:
        ConfigurationError: no open request, one that names nothing, a recipe that does not fit; nothing was recorded.
    """
    book = ledger.read()[1]
    chosen = _chosen(book, names)
    number = f"{len(book.batches) + 1:04d}"
    recipe = checked(_with_requests(ledger, book, asked, chosen), folder)
    if recipe.contract is None:
        raise ConfigurationError("requests are run under a contract: leave 'contract: none' out of the recipe")
    data = training_set(recipe)
    fingerprint = data.fingerprint()
    if any(batch.body["data"] != fingerprint for batch in book.batches.values()):
        raise ConfigurationError(
            "the training set is not that of earlier batches, and row numbers would mean other records: give the same "
            "one, or begin a new ledger for a model of other data"
        )
    _check_ids(ledger, chosen, data)
    named = _named(recipe, data)
    held, gone = _gone(ledger, book, recipe, data)
    first, covered, after = shared(named, held, gone, together)
    if first:
        recipe = recipe.model_copy(update={"requests": tuple(r for r in recipe.requests if r.id in first)})
        _check(recipe, data, together)
        if gone:
            path = ledger.gone_file(number).resolve()
            atomically(path, canonical(gone), private=True)
            recipe = recipe.model_copy(update={"already": (modalities.of(recipe).forget(indices=path),)})
            _check(recipe, data, together)
    entries = [_cover(ledger, name, named[name], recipe, data) for name in covered]
    if not first:
        return entries, None
    kept: Json = {"gone": {"count": len(gone), "hmac": ledger.key.rows(number, gone)}} if gone else {}
    if together:
        union: list[int] = np.setdiff1d(_rows(recipe.requests, recipe, data), gone).tolist()
        path = ledger.union_file(number).resolve()
        atomically(path, canonical(union), private=True)
        recipe = recipe.model_copy(update={"requests": (modalities.of(recipe).forget(id=TOGETHER, indices=path),)})
        kept["together"] = {"count": len(union), "hmac": ledger.key.rows(f"{number} {TOGETHER}", union)}
    if covered or after:
        kept["beside"] = [*covered, *after]
    file = ledger.folder / "runs" / f"{number}.yaml"
    atomically(file, recipe.to_yaml().encode())
    place = told(file, ledger.folder)
    body = {"batch": number, "requests": first, "asked": asked_for, "recipe": place, "data": fingerprint, **kept}

    def make(now: Book) -> tuple[str, Json]:
        _chosen(now, first)
        return "batch", {**body, "begins": now.model}

    return entries, Batch(ledger.write(make).body)


def shared(
    named: dict[str, Rows], held: Rows, gone: Sequence[int], together: bool
) -> tuple[list[str], list[str], list[str]]:
    """Which requests have rows of their own, which are covered, and which get none that earlier ones of these leave.

    Args:
        named: the rows of each, in the order in which they are carried out.
        held: rows that are certified, and whose certificates hold.
        gone: rows that earlier batches have taken out of the training set.
        together: all at once: then none leaves another one nothing.
    """
    first, covered, after = list[str](), list[str](), list[str]()
    taken = np.asarray(gone, dtype=np.int64)
    for name, rows in named.items():
        if not len(np.setdiff1d(rows, held)):
            covered.append(name)
        elif not len(np.setdiff1d(rows, taken)):
            after.append(name)
        else:
            first.append(name)
            taken = taken if together else np.union1d(taken, rows)
    return first, covered, after


def takers(ledger: Ledger, book: Book, rows: Rows, recipe: Recipe, data: TrainingSet[Any]) -> list[str]:
    """The requests that were carried out and that named some of these rows."""
    carried = (each for each in book.requests.values() if each.outcome is not None and "model" in each.outcome.body)
    kind = modalities.of(recipe)
    named = {each.id: _rows([forgetting(ledger, each, kind)], recipe, data) for each in carried}
    return [name for name, own in named.items() if len(np.intersect1d(own, rows))]


def named_by(standing: Standing, trained: int) -> Json:
    """How many rows a request named, by how many ids, and on how many of them no model was trained, if on some.

    Args:
        standing: of the request.
        trained: rows that it named and that the original was trained on.
    """
    told = standing.body["selector"].get("rows", {})
    found = {"named": max(trained, told.get("count", 0))}
    found |= {"ids": told["ids"]} if "ids" in told else {}
    return found | ({"untrained": found["named"] - trained} if found["named"] > trained else {})


def _cover(ledger: Ledger, name: str, rows: Rows, recipe: Recipe, data: TrainingSet[Any]) -> Entry:
    """Puts on record that certificates which hold have all records of a request."""
    mac = ledger.key.records(name, data.digests(rows))

    def make(book: Book) -> tuple[str, Json]:
        (standing,) = _chosen(book, [name])
        by = [each for each in takers(ledger, book, rows, recipe, data) if book.requests[each].holds]
        told: Json = {"count": len(rows), "hmac": mac, "key": ledger.key.name}
        verdict = f"covered by the certificate{'s' if by[1:] else ''} of {', '.join(by)}"
        if unshown := [each for each in by if book.requests[each].status == UNSHOWN]:
            verdict += f"; carried out, not shown: {', '.join(unshown)}"
        made = {"request": name, "by": by, "verdict": verdict, "shown": not unshown}
        return "cover", made | {"records": told | named_by(standing, len(rows))}

    return ledger.write(make)


def _check_ids(ledger: Ledger, chosen: Sequence[Standing], data: TrainingSet[Any]) -> None:
    """Refuses requests whose ids became row numbers of another list: here these are the rows of others.

    Raises:
        ConfigurationError: the training set has ids, and others or in another order.
    """
    if (ids := data.ids()) is None:
        return
    stated = {each.id: each.body["selector"].get("rows", {}).get("among") for each in chosen}
    if others := [name for name, among in stated.items() if among and among != ledger.key.ids(name, ids)]:
        raise ConfigurationError(
            f"request {name}: its ids were looked up in another table than the training set of the recipe (--of and "
            "--column; other rows, another order, or another column): its row numbers would be those of others. Reject "
            "it, and add it again under another id, --of the table of this recipe"
            for name in others
        )


def _named(recipe: Recipe, data: TrainingSet[Any]) -> dict[str, Rows]:
    """The rows that each request names.

    Raises:
        ConfigurationError: of what the training set does not have; all of them at once.
    """
    rows, faults = dict[str, Rows](), list[str]()
    for each in recipe.requests:
        try:
            rows[str(each.id)] = data.named(recipe.model_copy(update={"forget": each}))
        except ConfigurationError as error:
            faults += [f"request {each.id}: {fault}" for fault in error.faults]
    if faults:
        raise ConfigurationError([*faults, _HINT])
    return rows


def _chosen(book: Book, names: Sequence[str]) -> list[Standing]:
    """The open requests of these names, or all, by due date.

    Raises:
        ConfigurationError: there is none, or a name that is not of an open one.
    """
    if names:
        found = [find(book, name) for name in dict.fromkeys(names)]
        if wrong := [f"request {each.id} is {each.status}, not open" for each in found if each.status != "open"]:
            raise ConfigurationError(wrong)
    else:
        found = [each for each in book.requests.values() if each.status == "open"]
        if not found:
            raise ConfigurationError("no request is open: there is nothing to run")
    return sorted(found, key=lambda each: each.body["due"])


def _with_requests(ledger: Ledger, book: Book, asked: Document, chosen: Sequence[Standing]) -> Document:
    """The recipe with the open requests, and the model that it goes on from."""
    faults = [
        f"{asked.place((key,))}: {key}: the ledger says this: leave it out" for key in TAKEN if key in asked.content
    ]
    if (kind := modalities.of_document(asked)) is not None:
        if modalities.source_of(asked) not in kind.numbered:
            own = f"{kind.name} of your own (source: {', '.join(kind.numbered)})"
            faults.append(f"{asked.place(('data', 'source'))}: data.source: expected {own}")
        for each in chosen if not kind.classes else ():
            if "class" in each.body["selector"]:
                text = f"names a class, and {kind.name} have none: reject it, and name rows or ids"
                faults.append(f"request {each.id}: {text}")
    model = asked.content.get("model") or {}
    if book.model is not None and isinstance(model, dict):
        last = (ledger.folder / book.model["file"]).resolve()
        faults += _not_as_left(ledger, book)
        for key in ("weights", "adapter"):
            if model.get(key) is not None:
                place = asked.place(("model", key))
                text = f"model.{key}: the ledger goes on from {last}: leave it out, or begin a new ledger"
                faults.append(f"{place}: {text}")
        model = {**model, "weights": str(last)}
        if (last / ADAPTER).is_file() and model.get("base") is None:
            model.pop("lora", None)  # no adapters are put on those that are there
    if faults:
        raise ConfigurationError(faults)
    requests = [{"id": each.id, **ledger.section(each)} for each in chosen]
    content = {**asked.content, "requests": requests} | ({"model": model} if model else {})
    return Document(content, asked.name, asked.places)


def _not_as_left(ledger: Ledger, book: Book) -> Iterator[str]:
    """In what the model that the last request left is another one now, or the one that its adapters are for."""
    left = next(entry.body for entry in reversed(book.outcomes) if "model" in entry.body)
    for what in ("model", "base"):
        for text, _ in unlike(ledger.folder / left[what]["file"], what, left[what]) if what in left else ():
            yield f"expected the model that request {left['request']} left: {text}"


def _gone(ledger: Ledger, book: Book, recipe: Recipe, data: TrainingSet[Any]) -> tuple[Rows, list[int]]:
    """The rows whose certificates hold, and all that earlier requests have taken out of the training set.

    Those of all that were certified; those of a rejected one, or of one that was undone, as well, for no later step
    should learn them again, unless they are asked for once more.
    """
    kind = modalities.of(recipe)
    certified, tried = (_rows(_sections(ledger, book, holds, kind), recipe, data) for holds in (True, False))
    again = _rows(recipe.requests, recipe, data)
    gone: list[int] = np.setdiff1d(np.union1d(certified, tried), np.intersect1d(tried, again)).tolist()
    return certified, gone


def _sections(ledger: Ledger, book: Book, holds: bool, kind: modalities.Modality) -> Iterator[ForgetSection]:
    """The requests that were carried out and whose certificate holds, or the others."""
    for each in book.requests.values():
        if each.outcome is None or "model" not in each.outcome.body or each.holds != holds:
            continue
        yield forgetting(ledger, each, kind)


def forgetting(ledger: Ledger, each: Standing, kind: modalities.Modality) -> ForgetSection:
    """A request as a recipe holds it."""
    told = ledger.section(each)
    if "indices" in told:
        return kind.forget(indices=Path(told["indices"]))
    return kind.forget.model_validate({"class": tuple(told["class"])})


def _rows(sections: Iterable[ForgetSection], recipe: Recipe, data: TrainingSet[Any]) -> Rows:
    """The rows that any of these names."""
    found = [data.named(recipe.model_copy(update={"forget": each})) for each in sections]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def _check(recipe: Recipe, data: TrainingSet[Any], together: bool) -> None:
    """Refuses a batch with a request that names nothing, or not what is there; all of them at once."""
    faults = []
    alone = [recipe.model_copy(update={"requests": (), "forget": each}) for each in recipe.requests]
    for single in alone if together else sequence.parts(recipe):
        assert single.forget is not None
        try:
            data.job(single)
        except ConfigurationError as error:
            without = " (the records of earlier requests are gone)" if single.already else ""
            faults += [f"request {single.forget.id}: {fault}{without}" for fault in error.faults]
    if faults:
        raise ConfigurationError([*faults, _HINT])
