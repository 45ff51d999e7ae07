"""What the fields of a log may hold: looked at once, when it is read, so that no metric meets anything else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unweave.errors import ConfigurationError

_LARGEST = 1e300  # of a whole number that is still one as float64


@dataclass(frozen=True)
class Kind:
    """What a field may hold, and in which words."""

    words: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
    return value is None or isinstance(value, float) or whole


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


TEXT = Kind("a text", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
INDEX = Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
COUNT = Kind("a whole number of at least 1", _is_count)
COUNTS = Kind("a list of whole numbers of at least 1", _list_of(_is_count))
NUMBER = Kind("a number or null", _is_number)
NUMBERS = Kind("a list of numbers or null", _list_of(_is_number))
HITS = Kind("a list of 0 and 1", _list_of(lambda value: value in (0, 1) and isinstance(value, int)))
SEVERAL = Kind("a list of at least one number or null", lambda value: NUMBERS.holds(value) and bool(value))
ONE_OR_SEVERAL = Kind("a number, or a list of them", lambda value: NUMBER.holds(value) or SEVERAL.holds(value))
TABLE = Kind("a table", lambda value: isinstance(value, dict))


def checked(value: Any, kind: Kind, where: str) -> Any:
    """The value, which is of that kind.

    Raises:
        ConfigurationError: it is not; the message begins with where it stands.
    """
    if not kind.holds(value):
        raise ConfigurationError(f"{where}: expected {kind.words}, found {_short(value)}")
    return value


def fields(row: Mapping[str, Any], kinds: Mapping[str, Kind], where: str, *alike: tuple[str, ...]) -> None:
    """Looks at all fields of a row.

    Args:
        row: the row.
        kinds: of its fields, all of which it must have.
        where: it stands.
        alike: names of lists that must be of one length.

    Raises:
        ConfigurationError: a field is missing or of another kind, or lists differ in length.
    """
    if missing := [name for name in kinds if name not in row]:
        raise ConfigurationError(f"{where}: expected the fields {', '.join(kinds)}; {', '.join(missing)} missing")
    for name, kind in kinds.items():
        checked(row[name], kind, f"{where}: {name}")
    for names in alike:
        lengths = [len(row[name]) for name in names]
        if len(set(lengths)) > 1:
            raise ConfigurationError(f"{where}: {', '.join(names)} must be of one length, found {lengths}")


def parsed(text: str, where: str) -> Any:
    """JSON as Python's objects.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also whole numbers of thousands of digits
        raise ConfigurationError(f"{where}: it is no JSON ({str(error) or type(error).__name__})") from error


def _short(value: Any) -> str:
    if isinstance(value, int) and not math.isfinite(_as_float(value)):
        return "a number beyond all floats"
    return f"{value!r:.60}"


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
