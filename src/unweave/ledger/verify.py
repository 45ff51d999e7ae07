"""Everything that can be checked of a ledger, without changing anything in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path, PurePosixPath

from unweave.data.text_file import parse_json, read_text
from unweave.errors import ConfigurationError, gathered
from unweave.ledger import certificate as words
from unweave.ledger import files
from unweave.ledger import publish as card
from unweave.ledger.book import Book, Standing, annulled, entered
from unweave.ledger.chain import Chain, Entry, Fault, canonical, contents, locked, parse, written
from unweave.ledger.ledger import Ledger, cut_short, exposed
from unweave.ledger.selector import Deletion, Selector, read_kept
from unweave.store import file_sha256

_EDITED = "is not what the ledger says: it was edited"
_OTHERS = "holds text of others beside the section of the ledger, which was not checked"
_SET_ASIDE = ": `unweave requests annul {} --reason ...` sets it aside"


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        faults: what is not as it was written, or is not there.
        notes: what was not checked, and why.
        entries: how many there are.
        head: hash of the last one; to be kept elsewhere, it shows later whether the end was cut off.
        certificates: how many were checked.
        attestations: how much evidence is on record.
    """

    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    entries: int
    head: str
    certificates: int
    attestations: int

    @property
    def refuted(self) -> bool:
        """Something speaks against what the ledger claims."""
        return any(fault.refutes for fault in self.faults)


def verify(ledger: Ledger, heads: Sequence[str] = ()) -> Verification:
    """Checks the chain, its end, its seals, and every file that an entry speaks of.

    Args:
        ledger: whose key may be missing: then seals and digests under the key are not checked, which is noted.
        heads: hashes of entries that are known from elsewhere, at least 12 characters of each.

    Raises:
        ConfigurationError: there is no ledger, its key is another one, or a head is too short.
    """
    ledger.check_there()
    if short := [head for head in heads if len(head) < 12]:
        raise ConfigurationError([f"--head {head}: expected at least 12 characters of a hash" for head in short])
    notes: list[str] = []
    known = ledger.key_file.is_file()
    if not known:
        notes.append(f"no key at {ledger.key_file}: seals, and the digests of rows, were not checked")
    notes += [
        f"{path} can be read by others on this machine: chmod {mode}"
        for path, mode in ((ledger.key_file, "600"), (ledger.private, "700"))
        if exposed(path)
    ]
    with locked(ledger.truth, write=False) as handle:
        chain = parse(contents(handle), ledger.key.seal if known else None)
        index = ledger.index.head()
    if known:
        ledger.check_key(chain)
    faults = [*chain.faults, *_end(ledger, chain, index, heads)]
    if index is None:
        notes.append("no index: whether the end was cut off is known only as far as certificates and --head reach")
    book, unread = entered(chain.entries)
    if not chain.faults:
        faults += [Fault("ledger", text + _SET_ASIDE.format(number), False) for number, text in unread.items()]
        faults += [] if unread else ledger.index.faults(chain, book)
    faults += _waiting(chain, book)
    aside = annulled(chain.entries)
    for number, by in aside.items():
        notes.append(f"entry {number} was set aside by entry {by.number}: {by.body.get('reason')}")
    faults += _files(ledger, [entry for entry in chain.entries if entry.number not in aside], book)
    places = {fault.place for fault in faults}  # a card that tells of another model is no fault of its own
    cards = list(_cards(ledger, chain, book, places))
    notes += [str(fault) for fault in cards if fault.text.endswith(_OTHERS)]
    faults += [fault for fault in cards if not fault.text.endswith(_OTHERS)]
    if known:
        faults += _rows(ledger, book)
    counts = [sum(entry.kind == kind for entry in chain.entries) for kind in ("certificate", "attestation")]
    return Verification(tuple(faults), tuple(notes), len(chain.entries), chain.head[1], *counts)


def certified(ledger: Ledger, model: Path) -> list[str]:
    """The requests whose certificate is for this very model, wherever it lies.

    Args:
        ledger: whose certificates.
        model: a file, or a folder.

    Raises:
        ConfigurationError: there is no ledger, it is damaged, or what is given is no model, or a part of one.
    """
    whole = files.held(model) if model.is_dir() else []
    alone = model / files.WEIGHTS if model.is_dir() else model
    digests = {files.told(model, ledger.folder)["sha256"]} if whole else set()
    if alone.is_file():
        digests.add(file_sha256(alone))
    if not digests:
        raise ConfigurationError(f"{model}: expected a .safetensors file, or the folder of a model")
    models = [(str(e.body["request"]), e.body["model"]) for e in ledger.read()[0].entries if e.kind == "certificate"]
    part = [name for name, known in models if not whole and digests & {*known.get("files", {}).values()}]
    if part:
        raise ConfigurationError(f"{model}: one file of the model of {', '.join(part)}: give the folder that it is in")
    return [name for name, known in models if known["sha256"] in digests]


def _waiting(chain: Chain, book: Book) -> Iterator[Fault]:
    """Whether the requests that are still to be carried out name what a request can name."""
    numbers = {entry.body.get("id"): entry.number for entry in chain.entries if entry.kind == "request"}
    for each in book.requests.values():
        if not each.waits:
            continue
        body, classes = each.body, each.body["selector"].get("class", (0,))
        days = date.fromisoformat(body["received"]), date.fromisoformat(body["due"])
        try:
            gathered(
                partial(Deletion, each.id, Selector((0,)), *days, body["basis"], body["note"]),
                partial(Selector, classes),
            )
        except ConfigurationError as error:
            for text in error.faults:
                said = f"{text}: reject it, or" + _SET_ASIDE.format(numbers[each.id]).removeprefix(":")
                yield Fault(f"request {each.id}", said, False)


def _end(ledger: Ledger, chain: Chain, index: tuple[int, str] | None, heads: Sequence[str]) -> Iterator[Fault]:
    """Whether everything is there that somebody knows of."""
    if text := cut_short(chain, index, "the index"):
        yield Fault("end", text)
    there = {entry.hash for entry in chain.entries}
    for head in heads:
        if not any(hash.startswith(head.lower()) for hash in there):
            yield Fault(
                "end", f"no entry has the hash {head}: the ledger was cut short or rewritten, or it is another one"
            )
    if chain.torn:
        text = f"a last line of {chain.torn} bytes has no end: a write was ended before it was acknowledged"
        yield Fault("end", f"{text}; the next one takes it away", False)
    for path in sorted((ledger.folder / "certificates").glob("*.json")):
        try:
            entry = Entry(**parse_json(read_text(path)))
            text = cut_short(chain, (entry.number, entry.hash), f"certificates/{path.name}")
        except (OSError, ValueError, TypeError):
            text = "cannot be read as a certificate: damaged or edited"
        if text:
            yield Fault(f"certificates/{path.name}", text)


def _files(ledger: Ledger, entries: Sequence[Entry], book: Book) -> Iterator[Fault]:
    """Whether the files that entries speak of are there and are the ones they mean."""
    read: dict[bytes, list[tuple[str, bool]]] = {}  # several entries speak of one model
    for entry in entries:
        if (
            entry.kind not in ("certificate", "cover", "rejection", "batch", "attestation")
            or entry.hash != entry.digest
        ):
            continue
        try:
            if entry.kind in ("certificate", "cover"):
                yield from _copy(ledger, entry, book)
            spoken = [(what, entry.body[what]) for what in ("model", "base", "recipe", "copy") if entry.body.get(what)]
            spoken += [(PurePosixPath(file["file"]).name, file) for file in entry.body.get("files", ())]
            for what, file in spoken:
                key = canonical([what, file])
                if key not in read:
                    read[key] = list(files.unlike(ledger.folder / file["file"], what, file))
                yield from (_file(_place(entry), what, *found) for found in read[key])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            yield Fault(f"entry {entry.number}", f"does not hold what a {entry.kind} holds: {error!r}")


def _cards(ledger: Ledger, chain: Chain, book: Book, places: Collection[str]) -> Iterator[Fault]:
    """Whether the card beside each certified model says what the ledger does; but for those that have a fault."""
    certified = book.certified
    lasts = {str(_model(ledger, each)): count for count, each in enumerate(certified, 1)}
    for count in lasts.values():
        name = certified[count - 1].id
        if f"certificate of {name}" not in places and (text := _of_card(ledger, chain, certified[:count])):
            yield Fault(f"card of {name}", text, text.endswith(_EDITED))


def _of_card(ledger: Ledger, chain: Chain, certified: Sequence[Standing]) -> str:
    """What is wrong with the card for these requests, beside the model of the last; nothing if it is theirs."""
    place = _model(ledger, certified[-1])
    path = place / card.FILE
    if not (place.parent / "recipe.yaml").is_file():
        return ""  # it moved, and is told of
    if not path.is_file():
        return f"is not at {path}: `unweave requests run` writes it again"
    try:
        state = card.state(place, certified)
        if state != "other":
            return "" if state == "same" else f"{path} {_OTHERS}"
        for number in reversed([e.number for e in chain.entries if e.kind in ("certificate", "attestation")]):
            known = entered(e for e in chain.entries if e.number < number)[0].certified
            known = known[: max((n for n, each in enumerate(known, 1) if _model(ledger, each) == place), default=0)]
            if known and card.state(place, known) != "other":
                return f"{path} is behind: `unweave requests run` writes it again"
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        return f"{path} cannot be compared with the ledger: {error!r}"
    return f"{path} {_EDITED}"


def _model(ledger: Ledger, each: Standing) -> Path:
    return files.folder_of(ledger.folder, each.decided.body["model"])


def _place(entry: Entry) -> str:
    return f"batch {entry.body['batch']}" if entry.kind == "batch" else f"{entry.kind} of {entry.body['request']}"


def _file(place: str, what: str, text: str, refutes: bool) -> Fault:
    elsewhere = "; a copy elsewhere can be checked with --model FILE" if what == "model" and not refutes else ""
    return Fault(place, text + elsewhere, refutes)


def _copy(ledger: Ledger, entry: Entry, book: Book) -> Iterator[Fault]:
    name = entry.body["request"]
    path, attested = ledger.certificate_file(name), book.requests[name].attestations if name in book.requests else ()
    texts = [written(words.text(entry, attested[:count])) for count in range(len(attested) + 1)]
    for file, known in ((path, [entry.pretty]), (path.with_suffix(".md"), texts)):
        if not file.is_file():
            yield Fault(_place(entry), f"its file is not at {file}: `unweave requests run` writes it again", False)
        elif (found := file.read_bytes()) not in known:
            yield Fault(_place(entry), f"{file} is not what the ledger holds: it was edited")
        elif found != known[-1]:
            text = f"{file} does not tell of entry {attested[-1].number} yet: `unweave requests run` writes it again"
            yield Fault(_place(entry), text, False)


def _rows(ledger: Ledger, book: Book) -> Iterator[Fault]:
    """Whether the rows of requests, and those that a batch leaves out, are the ones that were recorded."""
    requests = (
        (f"request {r.id}", r.id, ledger.rows_file(r.id), r.body["selector"].get("rows"))
        for r in book.requests.values()
    )
    batches = ((f"batch {b.id}", b.id, ledger.gone_file(b.id), b.body.get("gone")) for b in book.batches.values())
    unions = (
        (f"batch {b.id}", f"{b.id} together", ledger.union_file(b.id), b.body.get("together"))
        for b in book.batches.values()
    )
    for place, name, path, told in (*requests, *batches, *unions):
        if told is None:
            continue
        try:
            read_kept(path, ledger.key, name, told["hmac"])
        except ConfigurationError as error:
            yield Fault(place, str(error), path.is_file())
