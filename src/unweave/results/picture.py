"""A run as a picture: losses and phases over the steps, and below what a contract read against its limits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from unweave.contract.reading import Waypoint
from unweave.results.record import Record
from unweave.watch import in_notebook

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#7a7a7a"  # Okabe and Ito's
PHASES = {"repair": GREEN, "lost": RED}


def drawn(history: Sequence[Record], path: Sequence[Waypoint]) -> Figure:
    """The figure; of a run without a contract the losses alone."""
    from matplotlib import pyplot

    rows = 2 if path else 1
    figure, axes = pyplot.subplots(rows, 1, sharex=True, squeeze=False, figsize=(7.0, 2.6 * rows), layout="constrained")
    _losses(axes[0, 0], history)
    if path:
        _readings(axes[1, 0], path)
    axes[-1, 0].set_xlabel("step")
    axes[-1, 0].locator_params(axis="x", integer=True)
    if in_notebook():  # which shows what a cell returns, and once more what is open
        pyplot.close(figure)
    return figure


def _losses(axes: Axes, history: Sequence[Record]) -> None:
    steps, rows = [record.number for record in history], [record.numbers for record in history]
    axes.plot(steps, [row["forget_loss"] for row in rows], color=RED, label="forget loss")
    axes.plot(steps, [row["retain_loss"] for row in rows], color=BLUE, linestyle="--", label="retain loss")
    if still := [(record.number, record.retain) for record in history if not record.accepted]:
        axes.plot(*zip(*still, strict=True), "x", color=GREY, label="refused or undone")
    named = set[str]()
    for phase, part in groupby(history, key=lambda record: record.phase):
        numbers = [record.number for record in part]
        if phase in PHASES:
            label = None if phase in named else phase
            axes.axvspan(numbers[0] - 0.5, numbers[-1] + 0.5, color=PHASES[phase], alpha=0.12, linewidth=0, label=label)
            named.add(phase)
    axes.set_ylabel("losses of the step")
    axes.legend(frameon=False, fontsize="small")


def _readings(axes: Axes, path: Sequence[Waypoint]) -> None:
    steps = [point.step for point in path]
    axes.plot(steps, [point.used for point in path], "o-", color=BLUE, markersize=4, label="budget used")
    if any(point.forgotten is not None for point in path):
        gone = [float("nan") if point.forgotten is None else point.forgotten for point in path]
        axes.plot(steps, gone, "s--", color=RED, markersize=4, label="forgotten")
    if back := [(point.step, point.used) for point in path if point.rolled_back]:
        axes.plot(*zip(*back, strict=True), "x", color=GREY, markersize=9, label="rolled back")
    axes.axhline(1.0, color=GREY, linestyle=":", label="limit of the budget; forgotten as asked")
    axes.set_ylabel("share")
    axes.legend(frameon=False, fontsize="small")
