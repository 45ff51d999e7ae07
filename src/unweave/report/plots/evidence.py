"""What evidence looks like: gaps with their null, distributions, ROC curves, attacks over steps and precisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unweave.report.page import Table
from unweave.report.plots.canvas import COLOURS, INK, Drawing, canvas, columns, legend, shown, style

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Row:
    """One signed difference: its interval, what an exact method shows at these sizes, and the margin."""

    name: str
    value: float
    low: float | None
    high: float | None
    null: tuple[float, float] | None = None
    margin: float | None = None


def forest(title: str, rows: Sequence[Row], others: Mapping[str, Mapping[str, float]], *, x: str) -> Drawing:
    """Differences with intervals, on a band of what an exact method shows, between brackets at the margin.

    Args:
        title: of the plot.
        rows: from top to bottom.
        others: further points, by series and by the name of the row; those far outside are left to the table.
        x: name of the axis.
    """
    ends = [abs(v) for r in rows for v in (r.value, r.low, r.high, r.margin, *(r.null or ())) if v is not None]
    reach = 1.15 * max([*ends, 1e-9])
    with canvas(title, x, "", height=1.0 + 0.46 * len(rows)) as (axes, svg):
        axes.axvline(0.0, color=INK, linewidth=0.9)
        for i, row in enumerate(rows):
            if row.null is not None:
                axes.fill_betweenx(
                    [i - 0.32, i + 0.32], *row.null, color=COLOURS[2], alpha=0.28, linewidth=0,
                    label="an exact method (95 %)" if i == 0 else None,
                )  # fmt: skip
            if row.margin is not None:
                for side in (-row.margin, row.margin):
                    axes.plot(
                        [side, side], [i - 0.32, i + 0.32], color=COLOURS[1], linewidth=1.6, linestyle=(0, (3, 1)),
                        label="margin" if i == 0 and side > 0 else None,
                    )  # fmt: skip
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [i, i], color=COLOURS[0], linewidth=2.2, solid_capstyle="butt")
            axes.scatter([row.value], [i], color=COLOURS[0], s=36, zorder=3, label="unlearned" if i == 0 else None)
            for j, (name, points) in enumerate(others.items(), 1):
                if abs(found := points.get(row.name, 2 * reach)) <= reach:
                    look = style(name, j)
                    axes.scatter([found], [i], facecolor="none", edgecolor=look.colour, marker=look.marker, s=36)
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(-reach, reach)
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
            look, ordered = style(name, i), sorted(values)
            heights = [(k + 1) / len(ordered) for k in range(len(ordered))]
            axes.step(ordered, heights, where="post", color=look.colour, linestyle=look.dash, label=name, linewidth=1.7)
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
        axes.plot([floor, 1], [floor, 1], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.7, label="chance")
        for i, (name, curve) in enumerate(curves.items()):
            look = style(name, i)
            xs, ys = [[max(p[k], floor) for p in curve] for k in (0, 1)]
            axes.step(xs, ys, where="post", color=look.colour, linestyle=look.dash, label=name, linewidth=1.7)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.set_xlim(floor, 1.05)
        axes.set_ylim(floor, 1.15)
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
            axes.plot(
                x,
                mean,
                color=look.colour,
                linestyle=look.dash,
                marker=look.marker,
                markersize=4,
                linewidth=1.8,
                label=name,
            )
        axes.locator_params(axis="x", integer=True)
        legend(axes, len(means))
    return Drawing(
        title, svg.getvalue(), columns(f"{title}: means over runs", [x_name, *means], [list(x), *means.values()])
    )


def groups(title: str, names: Sequence[str], series: Mapping[str, Sequence[float | None]], *, y: str) -> Drawing:
    """A value of every series in every named group, side by side."""
    with canvas(title, "", y) as (axes, svg):
        for i, (name, values) in enumerate(series.items()):
            look = style(name, i)
            plain = [float("nan") if v is None else v for v in values]
            axes.plot(range(len(names)), plain, color=look.colour, linestyle=look.dash, marker=look.marker, label=name)
        axes.set_xticks(range(len(names)), list(names))
        axes.margins(x=0.15)
        legend(axes, len(series))
    rows = [[name, *(shown(values[k]) for values in series.values())] for k, name in enumerate(names)]
    return Drawing(title, svg.getvalue(), Table(f"{title}: {y}", ["", *series], rows))


def _at(curve: Curve, rate: float) -> float | None:
    return max((y for x, y in curve if x <= rate), default=None)
