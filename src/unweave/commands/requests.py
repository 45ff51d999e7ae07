"""`unweave requests`: what each word prints, and its exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unweave.contract.reading import State, state_of
from unweave.errors import ConfigurationError
from unweave.ledger import Deletion, Ledger, Selector, by_class, by_ids, by_rows, certified
from unweave.ledger import verify as check
from unweave.ledger.book import UNSHOWN
from unweave.ledger.certificate import text
from unweave.ledger.chain import Entry
from unweave.ledger.ledger import find

_REFUTED, _UNCHECKED, _INTERRUPTED = 3, 2, 130
_STILL: dict[State, str] = {"met": "still", "missed": "UNDONE", "undecided": "not shown, as little as then"}


_STYLES = {"rejected": "bold red", UNSHOWN: "yellow"}


@dataclass(frozen=True)
class Wanted:
    """A request as it was typed."""

    name: str
    classes: tuple[str, ...]
    rows: Path | None
    ids: Path | None
    of: Path | None
    column: str | None
    received: datetime | None
    due: datetime | None
    basis: str
    note: str

    def selector(self) -> Selector:
        """The records.

        Raises:
            ConfigurationError: not exactly one way to name them, or one that names nothing.
        """
        ways = {"--class": self.classes, "--rows": self.rows, "--ids": self.ids}
        given = [name for name, value in ways.items() if value]
        if len(given) != 1:
            found = " and ".join(given) or "none: it names no record"
            raise ConfigurationError(f"request {self.name}: expected exactly one of {', '.join(ways)}; found {found}")
        if (self.of is None) != (self.ids is None):
            raise ConfigurationError(f"request {self.name}: --ids FILE and --of FILE go together")
        if self.column is not None and self.ids is None:
            raise ConfigurationError(f"request {self.name}: --column is of the table of --ids FILE --of TABLE")
        if self.ids is not None and self.of is not None:
            return by_ids(self.ids, self.of, self.column)
        return by_class(self.classes) if self.rows is None else by_rows(self.rows)


def add(folder: Path, key: Path | None, wanted: Wanted, *, as_json: bool) -> None:
    """Records a request, and says by which entry."""
    received, due = (None if when is None else when.date() for when in (wanted.received, wanted.due))
    request = Deletion(wanted.name, wanted.selector(), received, due, wanted.basis, wanted.note)
    entry = Ledger(folder, key).add(request)
    if as_json:
        print(json.dumps(asdict(entry), indent=2))
        return
    _say(f"{request.id} is entry {entry.number} of {folder}, due on {entry.body['due']}: {entry.hash}")


def list_(folder: Path, status: str | None, *, overdue: bool, as_json: bool) -> None:
    """A line for each request, by due date."""
    today = datetime.now(UTC).date()
    rows = [row | {"overdue": _late(row, today) > 0} for row in Ledger(folder).requests(status)]
    rows = [row for row in rows if row["overdue"] or not overdue]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    made = Table(box=None, pad_edge=False)
    for column in ("request", "status", "due", "what", "records", "claim", "outcome"):
        made.add_column(column, overflow="fold", no_wrap=column in ("status", "due"))
    for row in rows:
        due = Text(row["due"])
        if (days := _late(row, today)) > 0:
            due.append(f" OVERDUE by {days} d", style="bold red")
        cells = (row[k] for k in ("selector", "records", "claim", "outcome"))
        status_ = Text(row["status"], style=_STYLES.get(row["status"], ""))
        made.add_row(Text(row["id"]), status_, due, *(Text("" if c is None else str(c)) for c in cells))
    Console(highlight=False).print(made)
    late = sum(row["overdue"] for row in rows)
    _say(f"{len(rows)} requests, {late} overdue")


def show(folder: Path, name: str, *, as_json: bool) -> None:
    """A request and what became of it."""
    ledger = Ledger(folder)
    chain, book = ledger.read()
    standing = find(book, name)
    outcome = None if standing.outcome is None else asdict(standing.outcome)
    if as_json:
        plain = {"request": standing.body, "status": standing.status, "batch": standing.batch, "outcome": outcome}
        more = {"retest": standing.retest, "attestations": [asdict(entry) for entry in standing.attestations]}
        print(json.dumps(plain | more | {"head": chain.head[1]}, indent=2))
        return
    _say(f"request {name}: {standing.status}")
    for key, value in standing.body.items():
        if key != "id" and value:
            _say(f"  {key}: {json.dumps(value) if isinstance(value, dict) else value}")
    if standing.retest is not None:
        how = {"met": "still met", "missed": "UNDONE", "undecided": "not shown"}[state_of(standing.retest)]
        _say(
            f"  forget clauses after batch {standing.retest['batch']}: {how}",
            style="" if standing.holds else "bold red",
        )
    if standing.attested:
        level = standing.claim["level"] or "none"
        _say(f"  claim: {level}, {standing.attested}", style="bold red" if standing.refuted else "")
    if standing.outcome is not None:
        _say("\n" + text(standing.outcome, standing.attestations))


@dataclass(frozen=True)
class How:
    """Which requests are run, and whether as one."""

    only: Sequence[str] = ()
    together: bool = False
    abandon: bool = False


def run(
    folder: Path, key: Path | None, recipe: Path | None, overrides: Sequence[str], how: How, *, as_json: bool
) -> int:
    """Carries out requests; 0 if every one is certified, 3 if one is rejected or undone, 130 if it was interrupted."""
    from unweave.commands.contract import promise
    from unweave.commands.progress import speaking
    from unweave.ledger import batch
    from unweave.report.build import build
    from unweave.watch import watching

    try:
        with watching() as watch, speaking():
            told = partial(promise, as_json=as_json)
            done = batch.run(
                Ledger(folder, key),
                recipe,
                overrides,
                how.only,
                together=how.together,
                abandon=how.abandon,
                watch=watch,
                promise=told,
            )
    except KeyboardInterrupt:
        done = batch.Outcome((), interrupted=True)
    if as_json:
        entries = [asdict(entry) for entry in done.entries]
        print(json.dumps({"interrupted": done.interrupted, "entries": entries}, indent=2))
    else:
        for entry in done.entries:
            _tell(entry)
    for name in sorted({entry.body["batch"] for entry in done.entries if "batch" in entry.body}):
        place = folder / "runs" / name
        if (place / "sequence.json").is_file():
            print(f"report: {build(place)}", file=sys.stderr)
    if done.interrupted:
        print(f"interrupted: continue with  unweave requests run --ledger {folder}", file=sys.stderr)
        return _INTERRUPTED
    return 0 if done.met else _REFUTED


def attest(folder: Path, key: Path | None, name: str, evidence: Path, *, as_json: bool) -> int:
    """Puts evidence on record; 0, or 3 if it speaks against the claim."""
    from unweave.ledger.attestation import attest as put

    ledger = Ledger(folder, key)
    ledger.check_there()
    entry = put(ledger, name, evidence)
    if as_json:
        print(json.dumps(asdict(entry), indent=2))
    else:
        _tell(entry)
    return _REFUTED if entry.body["claim"]["refuted"] else 0


def reject(folder: Path, key: Path | None, name: str, reason: str) -> None:
    """Closes a request."""
    ledger = Ledger(folder, key)
    ledger.check_there()
    entry = ledger.reject(name, reason)
    _say(f"{name} is rejected: entry {entry.number}, {entry.hash}")


def annul(folder: Path, key: Path | None, numbers: Sequence[int], reason: str) -> None:
    """Sets entries aside."""
    ledger = Ledger(folder, key)
    ledger.check_there()
    entry = ledger.annul(numbers, reason)
    _say(f"set aside: {', '.join(map(str, entry.body['entries']))}; entry {entry.number}, {entry.hash}")


def verify(folder: Path, key: Path | None, heads: Sequence[str], models: Sequence[Path], *, as_json: bool) -> int:
    """Says what is not as it was written; 0: nothing, 3: something refutes the ledger, 2: something is missing."""
    ledger = Ledger(folder, key)
    found = check(ledger, heads)
    known: dict[str, list[str]] = {}
    if models and not found.refuted:
        known = {str(model): certified(ledger, model) for model in models}
    strangers = [model for model, names in known.items() if not names]
    if as_json:
        plain: dict[str, Any] = asdict(found) | {"refuted": found.refuted or bool(strangers), "models": known}
        print(json.dumps(plain, indent=2))
    else:
        for fault in found.faults:
            _say(str(fault), style="bold red" if fault.refutes else "yellow")
        for note in found.notes:
            _say(f"note: {note}", style="yellow")
        for model, names in known.items():
            _say(_whose(ledger, model, names))
        state = f"{len(found.faults)} faults" if found.faults else "everything is as it was written"
        several = "s" if found.attestations > 1 else ""
        evidence = f", {found.attestations} attestation{several}" if found.attestations else ""
        _say(f"{found.entries} entries, {found.certificates} certificates{evidence}: {state}")
        _say(f"head: {found.head}")
    if found.refuted or strangers:
        return _REFUTED
    return _UNCHECKED if found.faults else 0


def _whose(ledger: Ledger, model: str, names: Sequence[str]) -> str:
    """For which requests a model is, and whether that was shown."""
    requests = ledger.read()[1].requests if names else {}
    shown = [name for name in names if requests[name].status != UNSHOWN]
    unshown = [name for name in names if name not in shown]
    said = [f"certified for {', '.join(shown)}"] if shown else []
    said += [f"carried out, not shown, for {', '.join(unshown)}"] if unshown else []
    return f"{model}: {'; '.join(said) or 'no certificate is for this model'}"


def _tell(entry: Entry) -> None:
    body = entry.body
    if entry.kind == "retest":
        for test in body["tests"]:
            _say(
                f"{test['id']}: certified before, {_STILL[state_of(test)]}",
                "bold red" if state_of(test) == "missed" else "",
            )
        return
    if entry.kind == "rejection":
        _say(f"{body['request']}: rejected, {body['reason']}", style="bold red")
        return
    if entry.kind == "cover":
        _say(f"{body['request']}: {body['verdict']}  entry {entry.number}, {entry.hash}")
        return
    if entry.kind == "attestation":
        claim, models = body["claim"], ", ".join(f"{count} {kind}" for kind, count in body["models"].items())
        said = f"{body['request']}: {'REFUTED' if claim['refuted'] else 'attested'}, claim {claim['level'] or 'none'}"
        _say(f"{said}, over {models} models", "bold red" if claim["refuted"] else "")
        for title in ("against", "missing"):
            for sentence in claim[title]:
                _say(f"  {title}: {sentence}")
        _say(f"  {body['copy']['file']}  entry {entry.number}, {entry.hash}")
        return
    shown = body.get("shown", True)
    said = f"{body['request']}: {'certified, ' if shown else ''}{body['verdict']}"
    _say(f"{said}; claim {body['claim']['level'] or 'none'}", style="" if shown else "yellow")
    _say(f"  {body['model']['file']}  entry {entry.number}, {entry.hash}")


def _late(row: dict[str, Any], today: date) -> int:
    """Days past the due date of a request that waits; not above 0 where it is in time."""
    return (today - date.fromisoformat(row["due"])).days if row["status"] in ("open", "running") else 0


def _say(text: str, style: str = "") -> None:
    Console(highlight=False).print(text, style=style, markup=False, soft_wrap=True)
