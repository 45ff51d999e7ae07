"""Live on stderr: progress, as bars on a terminal and one line per phase elsewhere, and warnings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from unweave.run.watch import Watch


@contextmanager
def watching() -> Iterator[Watch]:
    """A `Watch` that shows every phase while the block runs."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(28), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        phases: dict[str, TaskID] = {}

        def watch(phase: str, done: int, total: int) -> None:
            if phase not in phases:
                phases[phase] = progress.add_task(phase, total=total)
                if not console.is_terminal:
                    console.print(phase, markup=False, highlight=False)
            progress.update(phases[phase], completed=done, total=total, visible=done < total)

        yield watch


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
