"""The paper that all plots are drawn on: one size, one palette, one way to become a part of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unweave.report.page import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#010203"  # stands for the page's own text colour and is replaced by `currentColor`
# Okabe and Ito's palette (2008), which people with any colour vision tell apart; yellow is left out, as it is too pale
# for thin lines. The page may set other shades for dark screens: each colour stands for a variable of the page.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a7a7a")
COLOURS = tuple(f"#0203{i:02x}" for i in range(len(PALETTE)))
MARKERS = "osD^vPX*<"
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
MOST = 200  # rows of a table under a plot


@dataclass(frozen=True)
class Drawing:
    """A finished plot: its title, its `<svg>` element, and the numbers in it."""

    title: str
    svg: str
    table: Table


@dataclass(frozen=True)
class Style:
    """How a series looks: never told by its colour alone."""

    colour: str
    marker: str
    dash: Any

    @property
    def line(self) -> dict[str, Any]:
        """As matplotlib draws it."""
        return {"color": self.colour, "linestyle": self.dash}


MODELS = {"unlearned": 0, "original": 1, "retrained": 2, "retrained again": 3, "unseen": 4, "blind": 5}


def style(name: str, number: int) -> Style:
    """A model looks the same on the whole page; anything else goes by its number."""
    i = MODELS.get(name, number)
    return Style(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])


def shown(value: float | None) -> str:
    """A number as the tables under plots show it."""
    return "–" if value is None or value != value else f"{value:.4g}"


def columns(title: str, heads: Sequence[str], lists: Sequence[Sequence[float | None]]) -> Table:
    """The table under a plot, from its columns; every n-th row alone where there are too many."""
    every = -(-max((len(each) for each in lists), default=0) // MOST) or 1
    rows = [[shown(value) for value in row] for row in list(zip(*lists, strict=True))[::every]]
    return Table(title if every == 1 else f"{title}: every {every}th row", heads, rows)


@contextmanager
def canvas(title: str, x: str, y: str, *, height: float = 2.7) -> Iterator[tuple[Axes, io.StringIO]]:
    """Axes in the page's text colour; when the block ends, the finished `<svg>` is in the second value."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    look: Any = {"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif", "font.size": 10}
    look |= {"axes.unicode_minus": False, "text.parse_math": False, "legend.fontsize": 9}
    look |= dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "text.color"), INK)
    svg, raw = io.StringIO(), io.StringIO()
    with rc_context(look):
        figure = Figure(figsize=(4.7, height))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(alpha=0.22, linewidth=0.5, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        yield axes, svg
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(raw, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.03, metadata=metadata)
    svg.write(_inline(raw.getvalue(), title))


def legend(axes: Axes, entries: int, *, least: int = 2) -> None:
    """Names above the axes, where no curve runs; none for a single series."""
    if entries >= least:
        place: Any = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncol": 2, "borderaxespad": 0.2}
        axes.legend(frameon=False, labelcolor=INK, columnspacing=1.2, handlelength=2.6, **place)


def _inline(svg: str, title: str) -> str:
    """The `<svg>` element alone, labelled, in the page's colours, without namespaces (HTML has them)."""
    from markupsafe import escape

    svg = svg[svg.index("<svg") :].replace(INK, "currentColor").replace("xlink:href", "href")
    for i, (stand_in, colour) in enumerate(zip(COLOURS, PALETTE, strict=True)):
        svg = svg.replace(stand_in, f"var(--c{i}, {colour})")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
