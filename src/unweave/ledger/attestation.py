"""Evidence over several trainings becomes part of the ledger, if it is about the certified model and its records."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unweave.errors import ConfigurationError
from unweave.ledger.begin import TOGETHER
from unweave.ledger.book import Book, Standing
from unweave.ledger.chain import Entry, Json, canonical
from unweave.ledger.ledger import Ledger, find
from unweave.ledger.publish import publish
from unweave.ledger.retest import single
from unweave.modalities import MODALITIES, Modality, of_document, training_set
from unweave.recipe.yaml_lines import load
from unweave.run.directory import EVIDENCE
from unweave.store import atomically

SCHEMA = 1
KINDS = ("original", "retrained", "unlearned")
_SCORE = ("value", "low", "high", "p", "margin", "verdict", "reason")


def put(ledger: Ledger, name: str, raw: bytes) -> Entry:
    """Puts evidence about a certified model on record, also where it speaks against the claim.

    A copy without the values of single examples lies in `evidence/` of the ledger; the entry knows both by their hash.

    Args:
        ledger: whose certificate.
        name: of the request.
        raw: the bytes of `evidence.json`.

    Raises:
        ConfigurationError: it is no whole evidence file, is not about the certified weights, is on record already, or
            the request is not certified.
    """
    digest, found = hashlib.sha256(raw).hexdigest(), parsed(raw)
    kept = canonical(summed(found)) + b"\n"
    file = ledger.evidence_file(name, digest)
    copied = {"file": file.relative_to(ledger.folder).as_posix(), "sha256": hashlib.sha256(kept).hexdigest()}

    def make(book: Book) -> tuple[str, Json]:
        standing = find(book, name)
        if faults := list(against(book, standing, found)):
            raise ConfigurationError(faults)
        for entry in standing.attestations:
            if entry.body["evidence"]["sha256"] == digest:
                raise ConfigurationError(f"request {name}: this evidence is on record already, as entry {entry.number}")
        atomically(file, kept)
        return "attestation", {"request": name, "evidence": {"sha256": digest}, "copy": copied, **_body(found)}

    return ledger.write(make)


def parsed(raw: bytes) -> Json:
    """The content of a whole `evidence.json` that is about a run.

    Raises:
        ConfigurationError: it is not.
    """
    try:
        found: Json = json.loads(raw)
        state = found["schema"], found["status"]
        if state == (SCHEMA, "complete") and found.get("own_run") is not None:
            _body(found), summed(found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            f"expected the evidence.json that `unweave evidence` writes, found another file ({error!r})"
        ) from None
    if state != (SCHEMA, "complete"):
        raise ConfigurationError(
            f"expected complete evidence of schema {SCHEMA}, found it {state[1]!r}, of schema {state[0]!r}: collect "
            "the rest with `unweave evidence RUNDIR`"
        )
    if found.get("own_run") is None:
        raise ConfigurationError(
            "expected evidence about the certified model, found evidence about others, made from the recipe: collect "
            "it with `unweave evidence RUNDIR`, of the request's run directory in the ledger's runs/"
        )
    return found


def against(book: Book, standing: Standing, found: Json) -> Iterator[str]:
    """In what evidence is not about a request's certified model and its records."""
    if not standing.issued or standing.outcome is None:
        yield f"request {standing.id} is {standing.status}: evidence is put on record for a certified one"
        return
    told, own = standing.outcome.body, found["own_run"]
    first = next(model["sha256"] for model in found["runs"]["models"] if model["kind"] == "unlearned")
    pairs = {
        "weights before": (told["weights"]["before"], own["before"]),
        "weights after": (told["weights"]["after"], own["after"]),
        "first unlearned model": (told["weights"]["after"], first),
        "recipe.yaml": (told["recipe"]["sha256"], own["recipe"]),
    }
    unlike = [
        f"{what}, expected SHA-256 {expected[:12]}..., found {str(other)[:12]}..."
        for what, (expected, other) in pairs.items()
        if expected != other
    ]
    if unlike:
        yield f"request {standing.id}: this evidence is about another model than the certified one: {'; '.join(unlike)}"
    together: Json | None = book.batches[str(standing.batch)].body.get("together")
    count = (together or told["records"])["count"]
    if count != found["request"]["forget"]:
        yield f"request {standing.id}: expected evidence about {count} records, found {found['request']['forget']}"


def summed(found: Json) -> Json:
    """What `evidence.json` holds, without the values of single examples."""
    kept = copy.deepcopy(found)
    for side in ("forget", "retain"):
        for key in ("ecdf", "worst"):
            kept["per_example"][side].pop(key, None)
    kept["over_runs"]["u_lira"].pop("records", None)
    kept["attacks"]["blind"].pop("roc", None)
    for triple in kept["attacks"]["triple"].values():
        for model in triple.get("models", {}).values():
            model.pop("roc", None)
    return kept


def _body(found: Json) -> Json:
    claim = found["claim"]
    return {
        "created": found["created"],
        "claim": {key: claim[key] for key in ("level", "text", "against", "missing", "refuted")},
        "models": {kind: found["runs"][kind] for kind in KINDS},
        "weights": {key: found["own_run"][key] for key in ("before", "after")},
        "records": {"count": found["request"]["forget"]},
        "margins": {key: found["margins"][key] for key in ("points", "digest", "settled")},
        "scores": {name: _score(each) for name, each in _scores(found) if each is not None},
    }


def _scores(found: Json) -> Iterator[tuple[str, Any]]:
    """The main ones: gaps over runs, attacks on the certified model and over runs, what comes back."""
    gaps, over, brought = found["gaps"]["unlearned"], found["over_runs"], found["robustness"]
    yield from ((f"gap {name}", gap) for name, gap in gaps["metrics"].items())
    yield from (("gap average", gaps["average_gap"]), ("ToW", gaps["ToW"]))
    yield "blind, no model", found["attacks"]["blind"]
    for name, triple in found["attacks"]["triple"].items():
        if "models" in triple:
            yield f"{name} attack", triple["models"]["unlearned"]["auc"]
            yield f"{name} attack, above retrained", triple["above_retrained"]
    for side, part in found["per_example"].items():
        if "overall" in part:
            yield f"worst decile of T, {side}", part["overall"]["worst_decile"]
    yield from (("KLoM", over["klom"]["forget"]), ("epsilon", over["epsilon"]), ("U-LiRA", over["u_lira"].get("auc")))
    yield from ((f"back by relearning, {each['source']}", each["recovered"]) for each in brought["relearning"])
    rounded = (each for each in brought["precision"] if each["unchanged"] is not None)
    yield from ((f"back at {each['precision']}", each["recovered"]) for each in rounded)


def _score(each: Json) -> Json:
    null = each["null"]
    kept = {key: each[key] for key in _SCORE if each.get(key) not in (None, "")}
    band = None if null is None else {key: null[key] for key in ("value", "low", "high")}
    return (
        {"value": None, "low": None, "high": None}
        | kept
        | {"unit": each["metric"]["unit"], "n": each["sizes"], "null": band}
    )


def attest(ledger: Ledger, name: str, path: Path) -> Entry:
    """Puts the evidence in a file on record, and its claim into certificate, card and index.

    The records are compared under the ledger's key: the data have to be where the request's batch found them.

    Args:
        ledger: whose certificate.
        name: of the request.
        path: `evidence.json`, or the folder that holds it.

    Raises:
        ConfigurationError: no such file, not about the certified weights or records, on record already, or the request
            is not certified; with all that was found. Or there is no such evidence of its modality.
    """
    book = ledger.read()[1]
    kind = _kind(ledger, book, find(book, name))
    if kind is not None and not kind.over_trainings:
        able = " and ".join(each.name for each in MODALITIES.values() if each.over_trainings)
        raise ConfigurationError(
            f"request {name} is of {kind.name}, and evidence over several trainings is for {able}: its claim stays as "
            "it is"
        )
    file = path / EVIDENCE if path.is_dir() else path
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file}: expected the evidence, which cannot be read: {error}") from None
    publish(ledger)
    try:
        found, book = parsed(raw), ledger.read()[1]
        standing = find(book, name)
        faults = list(against(book, standing, found)) or list(_records(ledger, book, standing, found))
        if faults:
            raise ConfigurationError(faults)
        entry = put(ledger, name, raw)
    except ConfigurationError as error:
        raise ConfigurationError([f"{file}: {fault}" for fault in error.faults]) from error
    publish(ledger)
    return entry


def _kind(ledger: Ledger, book: Book, standing: Standing) -> Modality | None:
    """As the recipe of its batch says; None of a request of no batch."""
    if standing.outcome is None or standing.batch is None:
        return None
    path = ledger.folder / book.batches[standing.batch].body["recipe"]["file"]
    return of_document(load(path)) if path.is_file() else None


def _records(ledger: Ledger, book: Book, standing: Standing, found: Json) -> Iterator[str]:
    """In what the records are not the certified ones, as far as the key tells."""
    recipe = single(ledger, book, standing)
    data = training_set(recipe)
    job = data.job(recipe)
    assert standing.outcome is not None
    batch, own = book.batches[str(standing.batch)], standing.outcome.body["records"]
    rows: list[int] = data.rows(job).tolist()
    if (together := batch.body.get("together")) is not None:
        same = ledger.key.rows(f"{batch.id} {TOGETHER}", rows) == together["hmac"]
    else:
        same = ledger.key.records(standing.id, data.digests(data.rows(job))) == own["hmac"]
    if not same:
        yield f"request {standing.id}: expected the records that were certified, found others in the training set"
    for side in ("forget", "retain"):
        part = found["per_example"][side]
        if strange := {each["row"] for each in part.get("worst", ())} - set(job.rows(side)):
            yield f"request {standing.id}: the evidence shows {len(strange)} rows of another {side} set"
