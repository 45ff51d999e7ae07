"""What the entries of a ledger add up to: where every request and every batch stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal

from unweave.contract.reading import state_of
from unweave.errors import ConfigurationError
from unweave.ledger.chain import Entry, Json

Status = Literal["open", "running", "certified", "carried out", "covered", "rejected"]
STATUS_AFTER: dict[str, Status] = {"certificate": "certified", "cover": "covered", "rejection": "rejected"}
UNSHOWN: Status = "carried out"  # with a certificate that says: not shown


@dataclass(frozen=True)
class Standing:
    """A request, and what became of it.

    Attributes:
        body: as it was recorded: id, received, due, selector, basis, note.
        status: "open", "running" in a batch, "certified", "carried out" where its certificate says that the numbers do
            not show what the contract asks, "covered" by the certificates of others, or "rejected".
        batch: in which it is, or was carried out.
        outcome: its certificate, its rejection, or which certificates cover it.
        retest: what its forget clauses said of the last model of the last batch, where they were read again.
        attestations: evidence over several trainings about its certified model, in the order in which it was recorded.
    """

    body: Json
    status: Status = "open"
    batch: str | None = None
    outcome: Entry | None = None
    retest: Json | None = None
    attestations: tuple[Entry, ...] = ()

    @property
    def decided(self) -> Entry:
        """Its outcome; of a request that does not wait."""
        assert self.outcome is not None
        return self.outcome

    @property
    def claim(self) -> Json:
        """What is claimed of its model: by the last evidence, or by its run alone; `level` is None without a claim."""
        last = self.attestations[-1] if self.attestations else self.outcome
        nothing: Json = {"level": None, "text": "", "against": [], "missing": []}
        return nothing if last is None else last.body.get("claim", nothing)

    @property
    def refuted(self) -> bool:
        """Some evidence on record speaks against its claim."""
        return any(entry.body["claim"]["refuted"] for entry in self.attestations)

    @property
    def attested(self) -> str:
        """What evidence on record makes of the claim, in words; empty without any."""
        if self.refuted:
            return "refuted by evidence"
        return "attested" if self.attestations else ""

    @property
    def holds(self) -> bool:
        """It has a certificate or is covered by some, and no later batch has undone that."""
        answered = self.issued or self.status == "covered"
        return answered and (self.retest is None or state_of(self.retest) != "missed")

    @property
    def issued(self) -> bool:
        """It has a certificate of its own, whether that shows what was asked or says that it does not."""
        return self.status in ("certified", UNSHOWN)

    @property
    def by(self) -> tuple[str, ...]:
        """The requests whose certificates cover it."""
        return tuple(self.outcome.body["by"]) if self.status == "covered" and self.outcome is not None else ()

    @property
    def id(self) -> str:
        """Its name."""
        return str(self.body["id"])

    @property
    def waits(self) -> bool:
        """It has no outcome yet."""
        return self.outcome is None

    def overdue(self, today: date) -> bool:
        """It waits, and its due date is past."""
        return self.waits and date.fromisoformat(self.body["due"]) < today


@dataclass(frozen=True)
class Batch:
    """Requests that are carried out together."""

    body: Json
    ended: bool = False

    @property
    def id(self) -> str:
        """Its number, as its folder is named."""
        return str(self.body["batch"])


@dataclass(frozen=True)
class Book:
    """Everything that the entries say.

    Attributes:
        requests: by id, in the order in which they were recorded.
        batches: by number.
        model: `file` and `sha256` of the model that the last request left; None before the first.
    """

    requests: dict[str, Standing] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    model: Json | None = None

    @property
    def under_way(self) -> Batch | None:
        """The batch that was begun and not ended."""
        return next((batch for batch in self.batches.values() if not batch.ended), None)

    @property
    def certified(self) -> list[Standing]:
        """The requests with a certificate of their own, in the order of these."""
        found = [each for each in self.requests.values() if each.issued]
        return sorted(found, key=lambda each: each.decided.number)

    @property
    def answered(self) -> list[Standing]:
        """The requests that have a certificate or are covered, each with a file, in the order of their entries."""
        found = [each for each in self.requests.values() if each.issued or each.status == "covered"]
        return sorted(found, key=lambda each: each.decided.number)

    @property
    def outcomes(self) -> list[Entry]:
        """Certificates, covers and rejections, in order."""
        found = [each.outcome for each in self.requests.values() if each.outcome is not None]
        return sorted(found, key=lambda entry: entry.number)


def fold(entries: Iterable[Entry]) -> Book:
    """The book of these entries.

    Raises:
        ConfigurationError: an entry does not hold what its kind holds; each of them is named.
    """
    book, faults = entered(entries)
    if faults:
        numbers = " ".join(map(str, faults))
        hint = f"set them aside with `unweave requests annul {numbers} --reason ...`, which keeps them on record"
        raise ConfigurationError([*faults.values(), hint])
    return book


def entered(entries: Iterable[Entry]) -> tuple[Book, dict[int, str]]:
    """The book of those entries that can be read, and what is wrong with the others, by number."""
    entries = tuple(entries)
    aside, faults = annulled(entries), dict[int, str]()
    requests: dict[str, Standing] = {}
    batches: dict[str, Batch] = {}
    model: Json | None = None
    for entry in entries:
        if entry.number in aside:
            continue
        try:
            _enter(entry, requests, batches)
            model = entry.body.get("model") or model
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            faults[entry.number] = (
                f"entry {entry.number} ({entry.kind}) does not hold what such an entry holds ({error!r})"
            )
    return Book(requests, batches, model), faults


def annulled(entries: Iterable[Entry]) -> dict[int, Entry]:
    """The entries that later ones set aside, by number, each with the one that did."""
    found: dict[int, Entry] = {}
    for entry in entries:
        if entry.kind == "annulment":
            found |= dict.fromkeys(entry.body.get("entries", ()), entry)
    return found


def _enter(entry: Entry, requests: dict[str, Standing], batches: dict[str, Batch]) -> None:
    """What one entry changes."""
    body = entry.body
    match entry.kind:
        case "request":
            _check_request(body)
            requests[body["id"]] = Standing(body)
        case "batch":
            running = {n: replace(requests[n], status="running", batch=body["batch"]) for n in body["requests"]}
            requests |= running
            batches[body["batch"]] = Batch(body)
        case "certificate" | "rejection" | "cover":
            name, status = body["request"], STATUS_AFTER[entry.kind]
            status = UNSHOWN if status == "certified" and not body.get("shown", True) else status
            if strange := [each for each in body.get("by", ()) if each not in requests]:
                raise ValueError(f"there are no requests {strange}")
            requests[name] = replace(requests[name], status=status, batch=body.get("batch"), outcome=entry)
        case "attestation":
            known, _ = requests[body["request"]], (body["claim"]["refuted"], body["evidence"]["sha256"])
            requests[body["request"]] = replace(known, attestations=(*known.attestations, entry))
        case "retest":
            for test in body["tests"]:
                _retested(test["id"], {"batch": body["batch"], **test}, requests)
        case "end":
            batches[body["batch"]] = replace(batches[body["batch"]], ended=True)
            for name in batches[body["batch"]].body["requests"]:
                if requests[name].waits:
                    requests[name] = replace(requests[name], status="open", batch=None)


def _check_request(body: Json) -> None:
    """What every reader of a request relies on; what else is odd about it can be rejected with it."""
    for key in ("received", "due"):
        date.fromisoformat(body[key])
    texts, what = [body[key] for key in ("id", "basis", "note")], body["selector"]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"expected text, found {texts}")
    if isinstance(what["rows"]["count"] if "rows" in what else what["class"], str):
        raise TypeError(f"expected a selector, found {what}")


def _retested(name: str, test: Json, requests: dict[str, Standing]) -> None:
    """A request, and those that its certificate covers; of several that cover one, a missed test stays."""
    requests[name] = replace(requests[name], retest=test)
    for each in [each for each in requests.values() if name in each.by]:
        known = each.retest
        if known is None or state_of(known) != "missed" or known["batch"] != test["batch"]:
            requests[each.id] = replace(each, retest=test)
