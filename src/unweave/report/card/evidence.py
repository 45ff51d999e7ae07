"""One piece of evidence as text: never without its interval and its null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unweave.report.page import Table

Json = Mapping[str, Any]
COLUMNS = ["", "value", "95 % interval", "an exact method", "p", "n", "definition"]
SHARES = ("share",)


def cells(name: str, found: Json) -> list[str]:
    """A row of `COLUMNS`; the reason, where there is no value."""
    sizes = ", ".join(f"{n} {what}" for what, n in found["sizes"].items())
    definition = found["metric"]["definition"]
    if found["value"] is None:
        return [name, f"undefined: {found['reason']}", "–", "–", "–", sizes, definition]
    null = found["null"]
    band = "–" if null is None else f"{value(null['value'], found)} {span(null, found)}"
    return [name, value(found["value"], found), span(found, found), band, p(found["p"]), sizes, definition]


def table(caption: str, named: Mapping[str, Json]) -> Table:
    """Pieces of evidence, one row each."""
    return Table(caption, COLUMNS, [cells(name, found) for name, found in named.items()])


def value(number: float | None, found: Json) -> str:
    """A number in the unit of the metric."""
    if number is None:
        return "–"
    if found["metric"]["unit"] in SHARES:
        return f"{100 * number:.1f} %"
    return f"{number:.2f}"


def span(ends: Json, found: Json) -> str:
    """`[low, high]`; open where one end is not known."""
    if ends["low"] is None and ends["high"] is None:
        return "–"
    low, high = (value(ends[end], found).removesuffix(" %") for end in ("low", "high"))
    return f"[{low}, {high}]"


def p(number: float | None) -> str:
    """A p-value."""
    return "–" if number is None else f"{number:.3f}" if number >= 0.001 else "< 0.001"
