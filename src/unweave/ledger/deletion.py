"""What is asked for: which records, from when, until when, and on what grounds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from unweave.errors import ConfigurationError
from unweave.ledger.line import fault_of_line
from unweave.ledger.selector import Selector

DAYS = 30  # from the day on which a request was received to its due date, unless the request says otherwise
FIRST = date(1970, 1, 1)
YEARS = 1000  # between both, at most
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Deletion:
    """A deletion request.

    Args:
        id: a case number, never a name: letters, digits, '.', '_', '-', 64 at most.
        selector: the records.
        received: when it came, from 1970 on; None: today.
        due: until when it has to be answered, within 1000 years; None: `DAYS` later.
        basis: on what grounds it is made, in one line.
        note: anything else, in one line. It stays for good: nothing personal belongs in it.

    Raises:
        ConfigurationError: an id of another form, days that are none or too far apart, a due date before it was
            received, words of more than one line or that are no text; all faults at once.
    """

    id: str
    selector: Selector
    received: date | None = None
    due: date | None = None
    basis: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.id, str) and _ID.fullmatch(self.id)):
            asked = f"request {self.id!r:.80}"
            faults = [f"{asked}: expected an id of letters, digits, '.', '_', '-', at most 64 of them"]
        else:
            asked, faults = f"request {self.id}", []
        if not isinstance(self.selector, Selector):
            faults.append(f"{asked}: expected a Selector, found {type(self.selector).__name__}")
        faults += [f"{asked}: {fault}" for fault in (*_of_days(self.received, self.due), *self._of_words()) if fault]
        if faults:
            raise ConfigurationError(faults)

    @property
    def dates(self) -> tuple[date, date]:
        """When it was received and when it is due."""
        begin = self.received or datetime.now(UTC).date()
        return begin, self.due or begin + timedelta(days=DAYS)

    def _of_words(self) -> tuple[str, str]:
        return fault_of_line("basis", self.basis), fault_of_line("note", self.note)


def _of_days(received: date | None, due: date | None) -> Iterator[str]:
    """What is wrong with both days."""
    for name, day in (("received", received), ("due", due)):
        if day is not None and type(day) is not date:
            yield f"{name}: expected a date, found {type(day).__name__} {day!r:.40}"
            return
    begin = received or datetime.now(UTC).date()
    if begin < FIRST:
        yield f"received: expected a day from {FIRST} on, found {begin}"
    elif due is None and begin > date.max - timedelta(days=DAYS):
        yield f"received: on {begin}, and no calendar has a day {DAYS} days later: give another one"
    elif due is not None and due < begin:
        yield f"it is due on {due}, before it was received on {begin}"
    elif due is not None and (due - begin).days > YEARS * 366:
        yield f"it is due on {due}, more than {YEARS} years after it was received on {begin}: is the year right?"
