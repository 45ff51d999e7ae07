"""Plots as inline SVG, each with the table of its numbers: no network, no script, for light and dark pages."""

from unweave.report.plots.basic import bars, lines, rays
from unweave.report.plots.canvas import COLOURS, INK, Drawing, Point
from unweave.report.plots.evidence import Row, ecdf, forest, groups, roc, runs
from unweave.report.plots.plane import plane, shares

__all__ = [
    "COLOURS",
    "INK",
    "Drawing",
    "Point",
    "Row",
    "bars",
    "ecdf",
    "forest",
    "groups",
    "lines",
    "plane",
    "rays",
    "roc",
    "runs",
    "shares",
]
