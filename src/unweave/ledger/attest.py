"""Evidence over several trainings becomes part of the ledger, if it is about the certified model and its records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unweave.errors import ConfigurationError
from unweave.ledger import attestation
from unweave.ledger.begin import TOGETHER
from unweave.ledger.book import Book, Standing
from unweave.ledger.chain import Entry, Json
from unweave.ledger.ledger import Ledger, find
from unweave.ledger.publish import publish
from unweave.ledger.retest import single
from unweave.modalities import MODALITIES, Modality, of_document, training_set
from unweave.recipe.yaml_lines import load
from unweave.run.directory import EVIDENCE


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
        found, book = attestation.parsed(raw), ledger.read()[1]
        standing = find(book, name)
        faults = list(attestation.against(book, standing, found)) or list(_records(ledger, book, standing, found))
        if faults:
            raise ConfigurationError(faults)
        entry = attestation.put(ledger, name, raw)
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
    sides = {"forget": set(rows), "retain": set(job.rows("retain"))}
    for side, part in found["per_example"].items():
        if strange := {each["row"] for each in part.get("worst", ())} - sides[side]:
            yield f"request {standing.id}: the evidence shows {len(strange)} rows of another {side} set"
