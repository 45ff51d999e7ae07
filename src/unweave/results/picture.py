"""A run as a picture: both objectives and the phases over the steps, and what a contract read against its limits."""

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
SIDES = {"forget": RED, "retain": BLUE}
TOP = 2.0  # budgets used that are drawn; more would hide what is below 1
PHASES = {"repair": GREEN, "lost": RED}


def drawn(history: Sequence[Record], path: Sequence[Waypoint]) -> Figure:
    """The figure: one plot for each side, whose scales differ, and one for the contract, if there was one."""
    from matplotlib import pyplot

    rows = 3 if path else 2
    figure, axes = pyplot.subplots(rows, 1, sharex=True, figsize=(7.0, 2.0 * rows), layout="constrained")
    for place, side in zip(axes, SIDES, strict=False):
        _objective(place, history, side)
    if path:
        _readings(axes[2], path)
    for place in axes:
        if place.get_legend_handles_labels()[0]:
            place.legend(frameon=False, fontsize="small")
    axes[-1].set_xlabel("step")
    axes[-1].locator_params(axis="x", integer=True)
    if in_notebook():  # which shows what a cell returns, and once more what is open
        pyplot.close(figure)
    return figure


def _objective(axes: Axes, history: Sequence[Record], side: str) -> None:
    points = [(record.number, record.numbers[f"{side}_objective"]) for record in history]
    still = [point for record, point in zip(history, points, strict=True) if not record.accepted]
    axes.plot(*_columns(points), color=SIDES[side])
    if still:
        axes.plot(*_columns(still), "x", color=GREY, label="refused or undone")
    named = set[str]()
    for phase, part in groupby(history, key=lambda record: record.phase):
        numbers = [record.number for record in part]
        if phase in PHASES:
            label = None if phase in named else phase
            axes.axvspan(numbers[0] - 0.5, numbers[-1] + 0.5, color=PHASES[phase], alpha=0.12, linewidth=0, label=label)
            named.add(phase)
    axes.set_ylabel(f"{side} objective")


def _readings(axes: Axes, path: Sequence[Waypoint]) -> None:
    used = [(point.step, min(point.used, TOP)) for point in path]
    more = f" ({TOP:g} and more)" if any(point.used > TOP for point in path) else ""
    axes.plot(*_columns(used), "o-", color=BLUE, label=f"budget used{more}")
    if gone := [(point.step, point.forgotten) for point in path if point.forgotten is not None]:
        axes.plot(*_columns(gone), "s--", color=RED, label="of the way forgotten")
    if back := [each for each, point in zip(used, path, strict=True) if point.rolled_back]:
        axes.plot(*_columns(back), "x", color=GREY, markersize=10, label="rolled back")
    axes.axhline(1.0, color=GREY, linestyle=":", label="limit of the budget; forgotten as asked")
    axes.set_ylabel("contract")


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in points], [value for _, value in points]
