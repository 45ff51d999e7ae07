"""What goes wrong on the user's side: each message says what was expected, what was found, what to do."""

from __future__ import annotations

import difflib
import errno
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

P = ParamSpec("P")
T = TypeVar("T")


MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)
"""Errors of the system that are the machine's and nobody's input, such as a full disk; the command exits with 1."""


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


def at_once(make: Callable[P, T]) -> Callable[P, T]:
    """The same function, which tells every fault of its arguments and not the first alone.

    For what makes several things in turn, each of which checks its own arguments: it is asked again with the defaults
    of those that were refused. A fault begins with the name of its argument.

    Raises:
        ConfigurationError: every value that an argument cannot have.
    """
    called = signature(make)

    @wraps(make)
    def asked(*args: P.args, **kwargs: P.kwargs) -> T:
        given, found, refused = called.bind(*args, **kwargs), list[str](), set[str]()
        while True:
            named = set[str]()
            try:
                made = make(*given.args, **given.kwargs)
                if not found:
                    return made
            except UnweaveError as error:
                told = error.faults if isinstance(error, ConfigurationError) else [str(error)]
                first = {text.split()[0] for text in told} & given.arguments.keys()
                named = {name for name in first if called.parameters[name].default is not Parameter.empty}
                if not (named or refused):
                    raise
                found += [text for text in told if not follows(text, refused)]
            if not named:
                raise ConfigurationError(found)
            for name in named:
                del given.arguments[name]
            refused |= named

    return asked


def follows(text: str, refused: Set[str]) -> bool:
    """Whether a fault speaks of an argument that was refused and left out: it may be that one's consequence."""
    return not refused.isdisjoint(re.findall(r"\w+", text))


def gathered(*makes: Callable[[], object]) -> list[Any]:
    """What each of these gives; all are asked before the faults of any are told.

    Raises:
        ConfigurationError: the faults of all.
    """
    made, found, causes = list[Any](), list[str](), list[BaseException | None]()
    for make in makes:
        try:
            made.append(make())
        except ConfigurationError as error:
            found += error.faults
            causes.append(error.__cause__)
    if found:
        raise ConfigurationError(found) from next(filter(None, causes), None)
    return made


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
    except UnweaveError:
        raise
    except Exception as error:
        error.add_note(f"raised in {where}")
        raise


FINITE = "(-inf, inf)"
SEEDS = "[0, 9223372036854775808)"
"""What torch, NumPy and Python all take as a seed, and what may be counted up from it: integers below 2^63."""
_SHOWN = 120  # characters of a value in a message
_NUMBERS: dict[Any, tuple[Any, str]] = {float: (Real, "a number"), int: (Integral, "an integer")}
_OPTIONS: dict[Any, tuple[object, ...]] = {bool: (True, False), type(None): (None,)}


def check(owner: Any, *also: str, **allowed: str | Iterable[str]) -> None:
    """Checks the init fields of a dataclass by their types: options of a `Literal`, numbers, integers, flags.

    Args:
        owner: a dataclass instance; fields of other types are not looked at.
        also: other faults, to be reported together with these; an empty text is none.
        allowed: intervals of its numbers, such as `rate="[0, inf)"`, which are finite where nothing is said, and
            options of its texts.

    Raises:
        ConfigurationError: every value that its field cannot have.
    """
    hints = get_type_hints(type(owner))
    names = [f.name for f in fields(owner) if f.init]
    found = [fault(name, getattr(owner, name), hints[name], allowed.get(name, FINITE)) for name in names]
    if faults := [text for text in (*found, *also) if text]:
        raise ConfigurationError(faults)


def check_value(name: str, value: object, hint: Any, allowed: str | Iterable[str] = FINITE) -> None:
    """The same for one value.

    Raises:
        ConfigurationError: it cannot have that value.
    """
    if text := fault(name, value, hint, allowed):
        raise ConfigurationError(text)


def fault(name: str, value: object, hint: Any, allowed: str | Iterable[str] = FINITE) -> str:
    """What is wrong with a value of that type and interval, or of those options; nothing where nothing is."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    options: list[object] = [] if isinstance(allowed, str) else list(allowed)
    for part in parts:
        if get_origin(part) is Literal:
            options += get_args(part)
        elif part in _OPTIONS:
            options += _OPTIONS[part]
        elif part not in _NUMBERS and isinstance(allowed, str):
            return ""  # a type that cannot be told from here
    number = next((part for part in parts if part in _NUMBERS), None)
    words = list(map(repr, options))
    if number is not None and isinstance(allowed, str):
        kind, noun = _NUMBERS[number]
        words.insert(0, f"{noun} in {allowed}")
        if isinstance(value, kind) and not isinstance(value, bool) and _inside(value, allowed):
            return ""
    if any(type(value) is type(option) and value == option for option in options):
        return ""
    near = suggest(value, map(str, options)) if isinstance(value, str) else ""
    wanted = " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    return f"{name} must be {wanted}; found {shown(value)}.{near}"


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


def _inside(value: Any, interval: str) -> bool:
    """Whether a number is in an interval, written as usual: `[0, 1)`; NaN is in none, nor is what no float can be."""
    if isinstance(value, Integral) and abs(int(value)) > sys.float_info.max:
        return False
    low, high = map(float, interval[1:-1].split(","))
    above = low <= value if interval[0] == "[" else low < value
    return bool(above and (value <= high if interval[-1] == "]" else value < high))
