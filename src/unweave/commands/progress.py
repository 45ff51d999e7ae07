"""Live on stderr: progress and warnings. Bars on a terminal; elsewhere a line per phase, and one every half minute."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from unweave.watch import Watch, spoken

EVERY = 30.0  # seconds between two lines of a phase, where there is no terminal


@contextmanager
def watching() -> Iterator[Watch]:
    """A `Watch` that shows every phase while the block runs, and how long it will still take."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(28), MofNCompleteColumn(), _Left())
    with Progress(*columns, console=console, transient=True) as progress:
        phases: dict[str, tuple[TaskID, Pace]] = {}

        def watch(phase: str, done: int, total: int) -> None:
            if phase not in phases:
                pace = Pace(time.monotonic(), done)
                phases[phase] = progress.add_task(phase, total=total), pace
            task, pace = phases[phase]
            left = pace.left(time.monotonic(), done, total)
            progress.update(task, completed=done, total=total, visible=done < total, left=left)

        yield watch


@dataclass
class Lines:
    """A line when a phase begins, and while it lasts one every half minute, with an estimate: for a log file."""

    console: Console

    def __post_init__(self) -> None:
        self._phases: dict[str, Pace] = {}
        self._told = time.monotonic()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """As `Watch`."""
        now = time.monotonic()
        if phase not in self._phases:
            self._phases[phase] = Pace(now, done)
            self._say(phase, now)
        elif now - self._told >= EVERY and done < total:
            left = self._phases[phase].left(now, done, total)
            self._say(f"{phase}: {done} of {total}" + (f", about {spoken(left)} left" if left is not None else ""), now)

    def _say(self, text: str, now: float) -> None:
        self._told = now
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


@dataclass
class Pace:
    """How fast a phase is: what was done when it was first seen does not count.

    Args:
        begun: seconds on a clock.
        start: what was done then.
    """

    begun: float
    start: int

    def left(self, now: float, done: int, total: int) -> float | None:
        """Seconds until the end at the pace so far; None before anything was done."""
        made = done - self.start
        return (now - self.begun) / made * (total - done) if made > 0 else None


class _Left(ProgressColumn):
    """Seconds since the phase began, and how many are left."""

    def render(self, task: Task) -> Text:
        left = task.fields.get("left")
        return Text(spoken(task.elapsed or 0.0) + (f", about {spoken(left)} left" if left is not None else ""))


@contextmanager
def speaking() -> Iterator[None]:
    """Warnings inside are said at once, each as one plain line."""
    with warnings.catch_warnings():

        def show(message: Warning | str, *_: Any, **__: Any) -> None:
            say(f"warning: {message}", style="yellow")

        warnings.showwarning = show
        yield


def say(text: str, style: str = "") -> None:
    """One line on stderr."""
    Console(stderr=True, highlight=False).print(text, style=style, markup=False, soft_wrap=True)
