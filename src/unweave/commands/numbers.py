"""Numbers as they are printed: never without n, interval and null level, and with a reason where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

Json = Mapping[str, Any]


def number(value: float | None) -> str:
    """Three digits; a dash where there is none."""
    return "–" if value is None else f"{value + 0.0:.3g}"  # no -0


def interval(each: Json) -> str:
    """The 95 % interval; a dash where there is none."""
    low, high = each["low"], each["high"]
    return "–" if low is None or high is None else f"{number(low)} to {number(high)}"


def _value(each: Json) -> str:
    return "undefined" if each["value"] is None else number(each["value"])


def _band(each: Json) -> str:
    return "–" if each["null"] is None else interval(each["null"])


def _p(each: Json) -> str:
    return "–" if each["p"] is None else f"{each['p']:.2g}"


def _n(each: Json) -> str:
    return "/".join(str(n) for n in each["sizes"].values())


Columns = Mapping[str, Callable[[Json], str]]
COLUMNS: Columns = {"value": _value, "95 % interval": interval, "null band": _band, "p": _p, "n": _n}
NO_TEST: Columns = {title: read for title, read in COLUMNS.items() if title != "p"}


def evidence_table(
    title: str, rows: Mapping[str, Json], columns: Columns = COLUMNS, lacking: Mapping[str, str] | None = None
) -> Group:
    """One row a number, and under them why some are undefined, what n counts and what has no interval.

    Args:
        title: of the numbers' names.
        rows: evidence by name, as `Evidence.as_dict` gives it.
        columns: what is said of each.
        lacking: numbers that were not formed at all, and why.
    """
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in (title, *columns):
        made.add_column(column, overflow="fold")
    for name, each in rows.items():
        made.add_row(*(Text(cell) for cell in (name, *(read(each) for read in columns.values()))))
    known = {name: each for name, each in rows.items() if each["value"] is not None}
    bare = [name for name, each in known.items() if each["low"] is None]
    undefined = {name: each["reason"] for name, each in rows.items() if each["value"] is None}
    notes = reasons({**undefined, **(lacking or {})})
    notes += _counted({name: " / ".join(each["sizes"]) for name, each in known.items()})
    notes += [f"no interval: {'; '.join(bare)}. The null band says what chance gives"] if bare else []
    return Group(made, *(Text(note, style="dim") for note in notes))


def half(each: Json, factor: float, places: int) -> str:
    """The wider side of a score's 95 % interval, as `±` beside its value; empty where there is none."""
    value, low, high = each["value"], each["low"], each["high"]
    return "" if None in (value, low, high) else f"±{factor * max(high - value, value - low):.{places}f}"


def counts(scores: Iterable[Mapping[str, Json]], titles: Mapping[str, str]) -> str:
    """What n is of every score, each n once: of the model that has most."""
    sheets, found = list(scores), dict[str, str]()
    for key, title in titles.items():
        found[title] = str(max((sheet[key]["n"] for sheet in sheets if key in sheet), default=0))
    return "; ".join(f"{', '.join(names)} {n}" for n, names in _by(found).items())


def reasons(undefined: Mapping[str, str]) -> list[str]:
    """Why numbers are undefined, each reason once, with the names that it is of."""
    return [f"{'; '.join(names)}: undefined. {reason}" for reason, names in _by(undefined).items()]


def _counted(sizes: Mapping[str, str]) -> list[str]:
    """What n counts: of most numbers first, of the others by name."""
    most, *others = sorted(_by(sizes).items(), key=lambda found: -len(found[1])) or [("", [])]
    return [f"n: {most[0]}", *(f"n of {'; '.join(names)}: {what}" for what, names in others)] if most[0] else []


def _by(said: Mapping[str, str]) -> dict[str, list[str]]:
    """What is said -> the names that it is said of."""
    found: dict[str, list[str]] = {}
    for name, what in said.items():
        found.setdefault(what, []).append(name)
    return found
