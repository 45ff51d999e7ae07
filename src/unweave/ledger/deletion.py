"""What is asked for: which records, from when, until when, and on what grounds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from unweave.errors import ConfigurationError
from unweave.ledger.selector import Selector

DAYS = 30  # from the day on which a request was received to its due date, unless the request says otherwise
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Deletion:
    """A deletion request.

    Args:
        id: a case number, never a name: letters, digits, '.', '_', '-', 64 at most.
        selector: the records.
        received: when it came; None: today.
        due: until when it has to be answered; None: `DAYS` later.
        basis: on what grounds it is made.
        note: anything else. It stays for good: nothing personal belongs in it.

    Raises:
        ConfigurationError: an id of another form, a due date before it was received, words of more than one line; all
            faults at once.
    """

    id: str
    selector: Selector
    received: date | None = None
    due: date | None = None
    basis: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        faults = []
        if not _ID.fullmatch(self.id):
            faults.append(f"request {self.id!r}: expected an id of letters, digits, '.', '_', '-', at most 64 of them")
        begin, end = self.dates
        if end < begin:
            faults.append(f"request {self.id}: it is due on {end}, before it was received on {begin}")
        faults += [
            f"request {self.id}: {fault}"
            for fault in (fault_of_line("basis", self.basis), fault_of_line("note", self.note))
            if fault
        ]
        if faults:
            raise ConfigurationError(faults)

    @property
    def dates(self) -> tuple[date, date]:
        """When it was received and when it is due."""
        begin = self.received or datetime.now(UTC).date()
        return begin, self.due or begin + timedelta(days=DAYS)


def fault_of_line(what: str, text: str) -> str:
    """What is wrong with words that are printed as they are; nothing, if they are one line."""
    return "" if text.isprintable() else f"{what}: expected one line of text, found line breaks or control characters"
