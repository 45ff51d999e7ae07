"""What goes wrong on the user's side: each message says what was expected, what was found, what to do."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any

MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)
"""Errors of the system that are the machine's and nobody's input, such as a full disk; the command exits with 1."""


class UnweaveError(Exception):
    """Anything a user can mend; the command prints it without a traceback and exits with 2."""


class ConfigurationError(UnweaveError):
    """One or more faults in what the user asked for, all of them collected in `faults`.

    `rows` are the examples of a batch that it is about, where it is about some; `advice` is what to do about all
    faults, and none itself.
    """

    def __init__(self, faults: str | Iterable[str], rows: Sequence[int] = (), advice: str = ""):
        self.faults, self.rows, self.advice = [faults] if isinstance(faults, str) else list(faults), rows, advice
        super().__init__("\n".join([*self.faults, *filter(None, [advice])]))


class UnsupportedError(UnweaveError):
    """A setting that cannot work here; the message names what to use instead."""


class InfeasibleError(UnweaveError):
    """A constraint that no step can meet."""


def suggest(word: str, options: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest option, or an empty string."""
    close = nearest(word, options)
    return "" if close is None else f" Did you mean {close!r}?"


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The closest option; None where none is close."""
    return next(iter(difflib.get_close_matches(word, list(options), n=1)), None)


def follows(text: str, refused: Set[str]) -> bool:
    """Whether a fault speaks of an argument that was refused and left out: it may be that one's consequence."""
    return not refused.isdisjoint(re.findall(r"\w+", text))


def gathered(*makes: Callable[[], object]) -> list[Any]:
    """What each of these gives; all are asked before the faults of any are told.

    Raises:
        ConfigurationError: the faults of all.
    """
    made, found, advice, causes = list[Any](), list[str](), dict[str, None](), list[BaseException | None]()
    for make in makes:
        try:
            made.append(make())
        except ConfigurationError as error:
            found += error.faults
            advice |= dict.fromkeys(filter(None, [error.advice]))
            causes.append(error.__cause__)
    if found:
        raise ConfigurationError(found, advice=" ".join(advice)) from next(filter(None, causes), None)
    return made


@contextmanager
def of_set(name: str, rows: Sequence[int] | None = None) -> Iterator[None]:
    """Faults of the data inside are those of the set of that name, whose `rows` the batch holds.

    Raises:
        ConfigurationError: with the name before each, and the first rows behind.
    """
    try:
        yield
    except ConfigurationError as error:
        found = error.rows if rows is None else [rows[row] for row in error.rows]
        first = ", ".join(f"{name}[{int(row)}]" for row in found[:5])
        faults = [f"{name}: {fault}{f' First: {first}.' if first else ''}" for fault in error.faults]
        raise ConfigurationError(faults, advice=error.advice) from (error.__cause__ or error)


@contextmanager
def told(what: str, advice: str = "") -> Iterator[None]:
    """What code of the caller's raises inside, before anything is computed, as one message that says what was done.

    Raises:
        ConfigurationError: whatever it was; lack of memory passes, and so does what has a message of ours.
    """
    try:
        yield
    except (UnweaveError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's
            raise
        known = isinstance(error, RuntimeError | TypeError | ValueError | OSError) and str(error)
        text = str(error) if known else f"{type(error).__name__} {error}".strip()
        raise ConfigurationError(f"{what}: {text.rstrip('.')}. {advice}".rstrip()) from error


@contextmanager
def noted(where: str) -> Iterator[None]:
    """What code of the caller's raises inside, in the middle of a run, passes with a note of where that was."""
    try:
        yield
    except Exception as error:
        error.add_note(f"raised in {where}")
        raise


_SHOWN = 120  # characters of a value in a message


def shown(value: object) -> str:
    """A value in a few words: itself, if it is a small one, or what it is."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    try:
        text = repr(value)
    except Exception:  # an integer of thousands of digits, an object that cannot speak of itself
        text = ""
    short = len(text) <= _SHOWN and "\n" not in text and not text.startswith("<")
    return text if short and text else type(value).__name__
