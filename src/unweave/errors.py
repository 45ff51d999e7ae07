"""What goes wrong on the user's side: each message says what was expected, what was found, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnweaveError(Exception):
    """Anything a user can mend; the command prints it without a traceback and exits with 2."""


class ConfigurationError(UnweaveError):
    """One or more faults in what the user asked for, all of them collected in `faults`."""

    def __init__(self, faults: str | Iterable[str]):
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class UnsupportedError(UnweaveError):
    """A setting that cannot work here; the message names what to use instead."""


class InfeasibleError(UnweaveError):
    """A constraint that no step can meet."""


def suggest(word: str, options: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest option, or an empty string."""
    close = difflib.get_close_matches(word, list(options), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
