"""Numbers as people read them, from their JSON: an entry of `scores.json` (`Score.brief`) or `Score.as_dict`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]
NONE = "–"


def plain(number: float | None, unit: str = "") -> str:
    """Per cent with one decimal, points with one from 1 on, anything else with three digits; a dash where none is."""
    if number is None:
        return NONE
    if unit == "share":
        return f"{100 * number + 0.0:.1f} %"
    if unit == "points":
        return f"{number:.1f}" if abs(number) >= 1 else f"{number + 0.0:.2g}"
    return f"{number + 0.0:.3g}"  # no -0


def unit(found: Json) -> str:
    """Of a number."""
    return str(found["metric"]["unit"] if "metric" in found else found["unit"])


def value(found: Json) -> str:
    """A number in its unit."""
    return "undefined" if found["value"] is None else plain(found["value"], unit(found))


def span(ends: Json, unit: str) -> str:
    """`[low, high]`, open where one end is not known; a dash where none is."""
    low, high = (plain(ends[end], unit).removesuffix(" %") for end in ("low", "high"))
    return NONE if low == high == NONE else f"[{low}, {high}]"


def interval(found: Json) -> str:
    """The 95 % interval."""
    return span(found, unit(found))


def lasting(seconds: float) -> str:
    """A time in the unit in which it is a small number."""
    for name, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds:.1f} s"


def difference(before: Json, after: Json) -> tuple[float, float | None, float | None]:
    """`after - before` of two numbers with its 95 % interval, from theirs; without ends where one of them has none.

    `d +- sqrt((a - low_a)^2 + (high_b - b)^2)`, and likewise for the other end: as though the two were independent.
    Of two models on the same examples they are not, and the interval is too wide rather than too narrow.

    Zou and Donner, Statistics in Medicine 27 (2008).
    """
    a, b = after["value"], before["value"]
    if None in (after["low"], after["high"], before["low"], before["high"]):
        return a - b, None, None
    low = math.hypot(a - after["low"], before["high"] - b)
    high = math.hypot(after["high"] - a, b - before["low"])
    return a - b, a - b - low, a - b + high


def change(before: Json, after: Json) -> str:
    """Before, after, and the difference with its interval; of shares in points."""
    found = difference(before, after)
    if unit(after) == "share":
        ends = [None if x is None else f"{100 * x + 0.0:+.1f}" for x in found]
        what = " points"
    else:
        ends, what = [None if x is None else f"{x + 0.0:+.3g}" for x in found], ""
    span = "" if ends[1] is None else f" (95 %: {ends[1]} to {ends[2]})"
    return f"{value(before)} before, {value(after)} after: {ends[0]}{what}{span}"
