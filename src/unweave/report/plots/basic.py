"""Curves over steps, bars, and rays from the origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unweave.report.page import Table
from unweave.report.plots.canvas import COLOURS, INK, Drawing, Point, canvas, columns, legend, levels, shown, style

Series = Sequence[float | None]
_LEVELS: Mapping[str, float] = {}


def lines(
    title: str,
    x: Sequence[int],
    series: Mapping[str, Series],
    *,
    y: str,
    x_name: str = "step",
    levels_at: Mapping[str, float] = _LEVELS,
) -> Drawing:
    """Curves over whole numbers; None is a gap. `levels_at` are dashed horizontal lines with a name."""
    with canvas(title, x_name, y) as (axes, svg):
        for i, (name, values) in enumerate(series.items()):
            look = style(name, i)
            plain = [float("nan") if v is None else v for v in values]
            marker = look.marker if len(x) <= 30 else ""
            (line,) = axes.plot(x, plain, color=look.colour, linestyle=look.dash, label=name, linewidth=1.6)
            line.set(marker=marker, markersize=4)
        levels(axes, levels_at)
        axes.locator_params(axis="x", integer=True)
        legend(axes, len(series) + len(levels_at))
    return Drawing(title, svg.getvalue(), columns(title, [x_name, *series], [list(x), *series.values()]))


def rays(title: str, slopes: Mapping[str, float], point: Point, *, x: str, y: str) -> Drawing:
    """Lines from the origin, one per slope, as far as the point's x, and the point; y shows it and the last line."""
    with canvas(title, x, y) as (axes, svg):
        for i, (name, slope) in enumerate(slopes.items(), 1):
            look = style(name, i)
            axes.plot([0.0, point.x], [0.0, slope * point.x], color=look.colour, linestyle=look.dash, label=name)
        axes.scatter([point.x], [point.y], color=COLOURS[0], s=42, label=point.name, zorder=3)
        axes.axhline(0.0, color=INK, linestyle="--", linewidth=0.8, alpha=0.6)
        reach = 1.6 * max(abs(point.y), *(abs(slope * point.x) for slope in list(slopes.values())[-1:]), 1e-9)
        axes.set_ylim(-reach, reach)
        legend(axes, len(slopes) + 1)
    rows = [[name, shown(point.x), shown(slope * point.x)] for name, slope in slopes.items()]
    return Drawing(
        title, svg.getvalue(), Table(title, ["", x, y], [*rows, [point.name, shown(point.x), shown(point.y)]])
    )


def bars(title: str, values: Mapping[str, float], ends: Mapping[str, float], *, x: str) -> Drawing:
    """One horizontal bar per method, with dashed lines for the ends of the scale."""
    with canvas(title, x, "", height=0.9 + 0.26 * len(values)) as (axes, svg):
        names = list(values)[::-1]
        axes.barh(names, [values[name] for name in names], color=COLOURS[0], height=0.62)
        for i, (name, value) in enumerate(ends.items(), 1):
            look = style(name, i)
            axes.axvline(value, color=look.colour, linestyle=look.dash, linewidth=1.5, label=name)
        legend(axes, len(ends), least=1)
        axes.grid(axis="y", visible=False)
    rows = [[name, shown(value)] for name, value in {**ends, **values}.items()]
    return Drawing(title, svg.getvalue(), Table(title, ["", x], rows))
