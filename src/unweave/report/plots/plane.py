"""The plane of forgetting and utility, and shares that add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unweave.report.page import Table
from unweave.report.plots.canvas import COLOURS, INK, MODELS, Drawing, Point, canvas, columns, legend, shown, style


def plane(
    title: str,
    points: Sequence[Point],
    *,
    x: str,
    y: str,
    path: Sequence[Point] = (),
    budget: float | None = None,
) -> Drawing:
    """Models as points, with intervals where they have some.

    Args:
        title: of the plot.
        points: models.
        x: name of the axis.
        y: name of the axis.
        path: states on the way, in their order; their low end is what was judged.
        budget: level of y below which nothing may fall.
    """
    with canvas(title, x, y, height=3.1) as (axes, svg):
        if path:
            xs, ys = [p.x for p in path], [p.y for p in path]
            axes.plot(xs, ys, color=INK, linewidth=1.0, marker=".", markersize=5, alpha=0.75, label="the run's path")
            for p in path:
                if p.low is not None:
                    axes.plot([p.x, p.x], [p.low, p.y], color=INK, linewidth=0.9, alpha=0.45)
        for i, point in enumerate(points):
            look = style(point.name, i + len(MODELS))
            if point.low is not None and point.high is not None:
                axes.plot([point.x, point.x], [point.low, point.high], color=look.colour, linewidth=1.1, alpha=0.8)
            axes.scatter([point.x], [point.y], color=look.colour, marker=look.marker, s=52, label=point.name, zorder=3)
        if budget is not None:
            axes.axhline(budget, color=COLOURS[1], linestyle=(0, (4, 2)), linewidth=1.3, label="budget")
        axes.margins(0.1)
        legend(axes, len(points) + bool(path) + (budget is not None))
    rows = [[p.name, *map(shown, (p.x, p.y, p.low, p.high))] for p in (*points, *path)]
    return Drawing(title, svg.getvalue(), Table(title, ["", x, y, "low", "high"], rows))


def shares(title: str, x: Sequence[int], parts: Mapping[str, Sequence[float]], *, y: str) -> Drawing:
    """Parts of a whole over steps, one on top of the other."""
    with canvas(title, "step", y, height=2.4) as (axes, svg):
        hatches = ("", "///", "...", "xx", "\\\\", "++")
        floor = [0.0] * len(x)
        for i, (name, values) in enumerate(parts.items()):
            top = [a + b for a, b in zip(floor, values, strict=True)]
            colour, hatch = COLOURS[i % len(COLOURS)], hatches[i % len(hatches)]
            axes.fill_between(
                x, floor, top, step="mid", facecolor=colour, edgecolor=INK, hatch=hatch, linewidth=0.0, label=name
            )
            floor = top
        axes.set_ylim(0, 1)
        axes.locator_params(axis="x", integer=True)
        legend(axes, len(parts), least=1)
    return Drawing(title, svg.getvalue(), columns(title, ["step", *parts], [list(x), *parts.values()]))
