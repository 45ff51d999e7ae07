"""Rows of Markdown tables over cells: what the pages of the comparison have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from cell import Cell, mean_gap
from problems import REQUESTS

TITLES = {"original": "*nothing done*", "retrained": "*retrained*", "retrained_again": "*retrained again*"}
Group = tuple[str, list[Cell]]


def row(*values: object) -> str:
    return f"| {' | '.join(map(str, values))} |"


def header(*names: str) -> list[str]:
    return [row(*names), "|---|" + "---:|" * (len(names) - 1)]


def mean(found: Iterable[Cell], of: Callable[[Cell], float | None], digits: int) -> str:
    """The mean of what is defined, or a dash."""
    values = [value for cell in found if (value := of(cell)) is not None]
    return f"{fmean(values):.{digits}f}" if values else "–"


def gap_of(own: Sequence[Cell], request: str | None) -> float | None:
    chosen = [c for c in own if request in (None, c.place.request)]
    return mean_gap(c.gap for c in chosen) if chosen else None


def marked(value: float | None, bold: bool) -> str:
    text = "–" if value is None else f"{value:.2f}"
    return f"**{text}**" if bold else text


def requested(found: Iterable[Cell]) -> list[str]:
    """The requests that there are, in the order of the columns."""
    there = {cell.place.request for cell in found}
    return [name for name in REQUESTS if name in there]
