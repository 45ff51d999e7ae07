"""How a run says what it is doing, without knowing who looks on: a bar, a line in a notebook, lines of a log file.

Bars and lines go to stderr. Where there is no terminal and no notebook: a line per phase, and one every half minute.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

Watch = Callable[[str, int, int], None]
"""Called with the name of a phase, how much of it is done, and its size."""
Asked = bool | Literal["auto"]
EVERY = 30.0  # seconds between two lines of a phase, where there is no terminal
BLINK = 0.2  # seconds between two pictures of a notebook's bar, at least


def silent(phase: str, done: int, total: int) -> None:
    """Nobody looks on."""


def spoken(seconds: float) -> str:
    """A time in a unit that fits, such as "3 min"."""
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


@contextmanager
def watching(asked: Asked = True) -> Iterator[Watch]:
    """A `Watch` that shows every phase while the block runs, and how long it will still take.

    Args:
        asked: "auto" shows nothing but in a notebook and in a terminal, and nothing in a test; False nothing at all.
    """
    console = Console(stderr=True)
    if not asked or (asked == "auto" and not (in_notebook() or _in_terminal())):
        yield silent
    elif in_notebook():
        with _cell() as watch:
            yield watch
    elif console.is_terminal:
        with _bars(console) as watch:
            yield watch
    else:
        yield Lines(console)


def in_notebook() -> bool:
    """Whether the code runs in a cell of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def _in_terminal() -> bool:
    return sys.stdout.isatty() and sys.stderr.isatty() and "PYTEST_CURRENT_TEST" not in os.environ


@contextmanager
def _bars(console: Console) -> Iterator[Watch]:
    columns = (TextColumn("{task.description}"), BarColumn(28), MofNCompleteColumn(), _Left())
    with Progress(*columns, console=console, transient=True) as progress:
        tasks, paces = dict[str, TaskID](), Paces()

        def watch(phase: str, done: int, total: int) -> None:
            left = paces.left(phase, done, total)
            if phase not in tasks:
                tasks[phase] = progress.add_task(phase, total=total)
            progress.update(tasks[phase], completed=done, total=total, visible=done < total, left=left)

        yield watch


@contextmanager
def _cell() -> Iterator[Watch]:
    """A bar in the output of the cell, which goes when the block ends."""
    shown: Any = importlib.import_module("IPython.display")
    handle, paces, last = shown.display(shown.HTML(""), display_id=True), Paces(), [-BLINK]

    def watch(phase: str, done: int, total: int) -> None:
        left, now = paces.left(phase, done, total), time.monotonic()
        if now - last[0] < BLINK:
            return
        last[0] = now
        text = escape(said(phase, done, total, left))
        handle.update(shown.HTML(f'<progress value="{done}" max="{total}"></progress> {text}'))

    try:
        yield watch
    finally:
        handle.update(shown.HTML(""))


@dataclass
class Lines:
    """A line when a phase begins, and while it lasts one every half minute, with an estimate: for a log file."""

    console: Console

    def __post_init__(self) -> None:
        self._paces, self._told = Paces(), time.monotonic()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """As `Watch`."""
        new, now = phase not in self._paces, time.monotonic()
        left = self._paces.left(phase, done, total)
        if not new and (now - self._told < EVERY or done >= total):
            return
        self._told = now
        text = phase if new else said(phase, done, total, left)
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


class Paces(dict[str, Pace]):
    """The pace of every phase that was seen."""

    def left(self, phase: str, done: int, total: int) -> float | None:
        """Seconds until the end of a phase; None before anything was done."""
        now = time.monotonic()
        return self.setdefault(phase, Pace(now, done)).left(now, done, total)


def said(phase: str, done: int, total: int, left: float | None) -> str:
    """Where a phase is, in words."""
    return f"{phase}: {done} of {total}" + ending(left)


def ending(left: float | None) -> str:
    """How long it will still take, after a comma; what may end before its last part says so."""
    return "" if left is None else f", at most about {spoken(left)} left"


class _Left(ProgressColumn):
    """Seconds since the phase began, and how many are left."""

    def render(self, task: Task) -> Text:
        return Text(spoken(task.elapsed or 0.0) + ending(task.fields.get("left")))
