"""Plots as inline SVG, each with the table of its numbers: no network, no script, for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unweave.report.page import Table
from unweave.report.plots.canvas import COLOURS, INK, MODELS, Drawing, canvas, columns, legend, shown, style

Series = Sequence[float | None]
Curve = Sequence[tuple[float, float]]
DASHED = (0, (4, 3))
_LEVELS: Mapping[str, float] = {}


@dataclass(frozen=True)
class Point:
    """A named model in a plane; `low` and `high` are the ends of an interval along y."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One signed difference: its interval, what an exact method shows at these sizes, and the margin."""

    name: str
    value: float
    low: float | None
    high: float | None
    null: tuple[float, float] | None = None
    margin: float | None = None


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
            marker = look.marker if len(x) <= 30 else ""
            axes.plot(x, _plain(values), **look.line, label=name, linewidth=1.6, marker=marker, markersize=4)
        for name, value in levels_at.items():
            axes.axhline(value, color=INK, linestyle=DASHED, linewidth=0.9, alpha=0.7, label=name)
        axes.locator_params(axis="x", integer=True)
        legend(axes, len(series) + len(levels_at))
    return Drawing(title, svg.getvalue(), columns(title, [x_name, *series], [list(x), *series.values()]))


def rays(title: str, slopes: Mapping[str, float], point: Point, *, x: str, y: str) -> Drawing:
    """Lines from the origin, one per slope, as far as the point's x, and the point; y shows it and the last line."""
    with canvas(title, x, y) as (axes, svg):
        for i, (name, slope) in enumerate(slopes.items(), 1):
            axes.plot([0.0, point.x], [0.0, slope * point.x], **style(name, i).line, label=name)
        axes.scatter([point.x], [point.y], color=COLOURS[0], s=42, label=point.name, zorder=3)
        axes.axhline(0.0, color=INK, linestyle="--", linewidth=0.8, alpha=0.6)
        reach = 1.6 * max(abs(point.y), *(abs(slope * point.x) for slope in list(slopes.values())[-1:]), 1e-9)
        axes.set_ylim(-reach, reach)
        legend(axes, len(slopes) + 1)
    ends = {**{name: slope * point.x for name, slope in slopes.items()}, point.name: point.y}
    rows = [[name, shown(point.x), shown(end)] for name, end in ends.items()]
    return Drawing(title, svg.getvalue(), Table(title, ["", x, y], rows))


def bars(title: str, values: Mapping[str, float], ends: Mapping[str, float], *, x: str) -> Drawing:
    """One horizontal bar per method, with dashed lines for the ends of the scale."""
    with canvas(title, x, "", height=0.9 + 0.26 * len(values)) as (axes, svg):
        names = list(values)[::-1]
        axes.barh(names, [values[name] for name in names], color=COLOURS[0], height=0.62)
        for i, (name, value) in enumerate(ends.items(), 1):
            axes.axvline(value, **style(name, i).line, linewidth=1.5, label=name)
        legend(axes, len(ends), least=1)
        axes.grid(axis="y", visible=False)
    rows = [[name, shown(value)] for name, value in {**ends, **values}.items()]
    return Drawing(title, svg.getvalue(), Table(title, ["", x], rows))


def plane(
    title: str, points: Sequence[Point], *, x: str, y: str, path: Sequence[Point] = (), budget: float | None = None
) -> Drawing:
    """Models as points, with intervals where they have some.

    `path` are states on the way, in their order, whose low end is what was judged; below `budget` nothing may fall.
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


def paths(title: str, curves: Mapping[str, Sequence[Curve]], *, x: str, y: str) -> Drawing:
    """Ways through a plane, several of each name: where they end is marked, and is the table."""
    with canvas(title, x, y, height=3.1) as (axes, svg):
        for i, (name, every) in enumerate(curves.items()):
            look = style(name, i)
            for k, curve in enumerate(every):
                xs, ys = zip(*curve, strict=True)
                axes.plot(xs, ys, **look.line, linewidth=1.4, label=None if k else name)
                axes.scatter(xs[-1:], ys[-1:], color=look.colour, marker=look.marker, s=36, zorder=3)
        axes.axhline(0.0, color=INK, linewidth=0.8, alpha=0.6)
        axes.axvline(0.0, color=INK, linewidth=0.8, alpha=0.6)
        legend(axes, len(curves))
    rows = [[name, *map(shown, curve[-1])] for name, every in curves.items() for curve in every]
    return Drawing(title, svg.getvalue(), Table(f"{title}: the end of each", ["", x, y], rows))


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


def forest(title: str, rows: Sequence[Row], others: Mapping[str, Mapping[str, float]], *, x: str) -> Drawing:
    """Differences with intervals, on a band of what an exact method shows, between brackets at the margin.

    `others` are further points, by series and by the name of the row; those far outside are left to the table.
    """
    ends = [abs(v) for r in rows for v in (r.value, r.low, r.high, r.margin, *(r.null or ())) if v is not None]
    reach = 1.15 * max([*ends, 1e-9])
    with canvas(title, x, "", height=1.0 + 0.46 * len(rows)) as (axes, svg):
        axes.axvline(0.0, color=INK, linewidth=0.9)
        for i, row in enumerate(rows):
            ys = [i - 0.32, i + 0.32]
            if row.null is not None:
                label = "an exact method (95 %)" if i == 0 else None
                axes.fill_betweenx(ys, *row.null, color=COLOURS[2], alpha=0.28, linewidth=0, label=label)
            if row.margin is not None:
                for side in (-row.margin, row.margin):
                    label, dash = "margin" if i == 0 and side > 0 else None, (0, (3, 1))
                    axes.plot([side, side], ys, color=COLOURS[1], linewidth=1.6, linestyle=dash, label=label)
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [i, i], color=COLOURS[0], linewidth=2.2, solid_capstyle="butt")
            axes.scatter([row.value], [i], color=COLOURS[0], s=36, zorder=3, label="unlearned" if i == 0 else None)
            for j, (name, points) in enumerate(others.items(), 1):
                if abs(found := points.get(row.name, 2 * reach)) <= reach:
                    look = style(name, j)
                    axes.scatter([found], [i], facecolor="none", edgecolor=look.colour, marker=look.marker, s=36)
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.4, -0.6))
        axes.grid(axis="y", visible=False)
        legend(axes, 3)
    cells = [
        [r.name, *map(shown, (r.value, r.low, r.high, *(r.null or (None, None)), r.margin))]
        + [shown(points.get(r.name)) for points in others.values()]
        for r in rows
    ]
    heads = ["", "gap", "low", "high", "null low", "null high", "margin", *others]
    return Drawing(title, svg.getvalue(), Table(f"{title}: {x}", heads, cells))


def ecdf(title: str, samples: Mapping[str, Sequence[float]], *, x: str, zero: bool = True) -> Drawing:
    """The share of values up to x, of every sample."""
    quantiles = [i / 20 for i in range(21)]
    with canvas(title, x, "share of examples") as (axes, svg):
        for i, (name, values) in enumerate(samples.items()):
            ordered = sorted(values)
            heights = [(k + 1) / len(ordered) for k in range(len(ordered))]
            axes.step(ordered, heights, where="post", **style(name, i).line, label=name, linewidth=1.7)
        if zero:
            axes.axvline(0.0, color=INK, linewidth=0.8, alpha=0.6)
        axes.set_ylim(0, 1.02)
        legend(axes, len(samples))
    lists = [[sorted(v)[min(int(q * len(v)), len(v) - 1)] for q in quantiles] for v in samples.values()]
    table = columns(f"{title}: quantiles", ["share", *samples], [quantiles, *lists])
    return Drawing(title, svg.getvalue(), table)


def roc(title: str, curves: Mapping[str, Curve]) -> Drawing:
    """True against false positives on logarithmic axes, where a leak of few records shows; chance is the diagonal."""
    positive = [v for curve in curves.values() for point in curve for v in point if v > 0]
    floor = max(min([*positive, 0.1]) / 1.5, 1e-4)
    with canvas(title, "false positives, share", "true positives, share", height=3.1) as (axes, svg):
        axes.plot([floor, 1], [floor, 1], color=INK, linewidth=0.9, linestyle=DASHED, alpha=0.7, label="chance")
        for i, (name, curve) in enumerate(curves.items()):
            xs, ys = [[max(p[k], floor) for p in curve] for k in (0, 1)]
            axes.step(xs, ys, where="post", **style(name, i).line, label=name, linewidth=1.7)
        axes.set(xscale="log", yscale="log", xlim=(floor, 1.05), ylim=(floor, 1.15))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        legend(axes, len(curves) + 1)
    rates = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    rows = [[shown(rate), *(shown(_at(curve, rate)) for curve in curves.values())] for rate in rates]
    table = Table(f"{title}: true positives at a false-positive share of at most", ["", *curves], rows)
    return Drawing(title, svg.getvalue(), table)


def runs(
    title: str, x: Sequence[int], curves: Mapping[str, Sequence[Sequence[float]]], *, y: str, x_name: str
) -> Drawing:
    """Several runs of each kind as thin curves, and their mean as a thick one."""
    means = {
        name: [sum(column) / len(column) for column in zip(*each, strict=True)] for name, each in curves.items() if each
    }
    with canvas(title, x_name, y) as (axes, svg):
        for i, (name, mean) in enumerate(means.items()):
            look = style(name, i)
            for curve in curves[name]:
                axes.plot(x, curve, color=look.colour, linewidth=0.7, alpha=0.35)
            axes.plot(x, mean, **look.line, marker=look.marker, markersize=4, linewidth=1.8, label=name)
        axes.locator_params(axis="x", integer=True)
        legend(axes, len(means))
    table = columns(f"{title}: means over runs", [x_name, *means], [list(x), *means.values()])
    return Drawing(title, svg.getvalue(), table)


def groups(title: str, names: Sequence[str], series: Mapping[str, Series], *, y: str) -> Drawing:
    """A value of every series in every named group, side by side."""
    with canvas(title, "", y) as (axes, svg):
        for i, (name, values) in enumerate(series.items()):
            look = style(name, i)
            axes.plot(range(len(names)), _plain(values), **look.line, marker=look.marker, label=name)
        axes.set_xticks(range(len(names)), list(names))
        axes.margins(x=0.15)
        legend(axes, len(series))
    rows = [[name, *(shown(values[k]) for values in series.values())] for k, name in enumerate(names)]
    return Drawing(title, svg.getvalue(), Table(f"{title}: {y}", ["", *series], rows))


def _plain(values: Series) -> list[float]:
    """With gaps as matplotlib knows them."""
    return [float("nan") if v is None else v for v in values]


def _at(curve: Curve, rate: float) -> float | None:
    return max((y for x, y in curve if x <= rate), default=None)
