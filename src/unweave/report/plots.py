"""Plots as inline SVG: no network, no script, legible on light and on dark pages."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = Sequence[float | None]

INK = "#010203"  # stands for the page's own text colour and is replaced by `currentColor`
COLOURS = (
    "#d1495b",
    "#2f8fce",
    "#5b9a3c",
    "#b07aa1",
    "#e08e2b",
    "#7a7a7a",
    "#1fa39a",
    "#c05aa0",
    "#8c6d46",
    "#6674c9",
)
MARKERS = "osD^vPX*<"  # one fewer than colours, so that the two together do not repeat


@dataclass(frozen=True)
class Point:
    """A named model in the trade-off plane."""

    name: str
    x: float
    y: float


def lines(
    title: str,
    x: Sequence[int],
    series: Mapping[str, Series],
    *,
    y: str,
    x_name: str = "step",
    levels: Mapping[str, float] = {},
) -> str:
    """Curves over whole numbers; None is a gap. `levels` are dashed horizontal lines with a name."""
    with _axes(title, x_name, y) as (axes, svg):
        for colour, (name, values) in zip(COLOURS, series.items(), strict=False):
            axes.plot(x, [float("nan") if v is None else v for v in values], color=colour, label=name, linewidth=1.4)
        for name, value in levels.items():
            axes.axhline(value, color=INK, linestyle="--", linewidth=0.8, alpha=0.6, label=name)
        axes.locator_params(axis="x", integer=True)
        if len(series) + len(levels) > 1:
            axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return svg.getvalue()


def plane(title: str, points: Sequence[Point], *, x: str, y: str) -> str:
    """Models as points: what was forgotten against what was kept."""
    with _axes(title, x, y) as (axes, svg):
        for i, point in enumerate(points):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            axes.scatter([point.x], [point.y], color=colour, marker=marker, s=42, label=point.name, zorder=3)
        axes.margins(0.1)
        axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return svg.getvalue()


def rays(title: str, slopes: Mapping[str, float], point: Point, *, x: str, y: str) -> str:
    """Lines from the origin, one per slope, as far as the point's x, and the point; y shows it and the last line."""
    with _axes(title, x, y) as (axes, svg):
        for colour, (name, slope) in zip(COLOURS[1:], slopes.items(), strict=False):
            axes.plot([0.0, point.x], [0.0, slope * point.x], color=colour, linewidth=1.2, label=name)
        axes.scatter([point.x], [point.y], color=COLOURS[0], s=42, label=point.name, zorder=3)
        axes.axhline(0.0, color=INK, linestyle="--", linewidth=0.8, alpha=0.6)
        reach = 1.6 * max(abs(point.y), *(abs(slope * point.x) for slope in list(slopes.values())[-1:]), 1e-9)
        axes.set_ylim(-reach, reach)
        axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return svg.getvalue()


def bars(title: str, values: Mapping[str, float], levels: Mapping[str, float], *, x: str) -> str:
    """One horizontal bar per method, with dashed lines for the ends of the scale."""
    with _axes(title, x, "", height=0.9 + 0.26 * len(values)) as (axes, svg):
        names = list(values)[::-1]
        axes.barh(names, [values[name] for name in names], color=COLOURS[1], height=0.62)
        for colour, (name, value) in zip((COLOURS[0], COLOURS[2]), levels.items(), strict=False):
            axes.axvline(value, color=colour, linestyle="--", linewidth=1.3, label=name)
        if levels:
            axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=2)
            axes.set_title(title, color=INK, fontsize=10, loc="left", pad=24)
        axes.grid(axis="y", visible=False)
    return svg.getvalue()


@contextmanager
def _axes(title: str, x: str, y: str, *, height: float = 2.6) -> Iterator[tuple[Axes, io.StringIO]]:
    """Axes in the page's text colour; when the block ends, the finished `<svg>` is in the second value."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "font.family": "sans-serif",
        "font.size": 9,
    }
    style |= {"axes.unicode_minus": False, "text.parse_math": False}
    style |= dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "text.color"), INK)
    svg, raw = io.StringIO(), io.StringIO()
    with rc_context(style):
        figure = Figure(figsize=(5.4, height))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_title(title, color=INK, fontsize=10, loc="left")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(alpha=0.25, linewidth=0.5, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        yield axes, svg
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(raw, format="svg", transparent=True, bbox_inches="tight", metadata=metadata)
    svg.write(_inline(raw.getvalue(), title))


def _inline(svg: str, title: str) -> str:
    """The `<svg>` element alone, labelled, in the page's text colour, without namespaces (HTML has them)."""
    from markupsafe import escape

    svg = svg[svg.index("<svg") :].replace(INK, "currentColor").replace("xlink:href", "href")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
