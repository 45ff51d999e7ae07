"""How a run says what it is doing, without knowing who looks on."""

from __future__ import annotations

from collections.abc import Callable

Watch = Callable[[str, int, int], None]
"""Called with the name of a phase, how much of it is done, and its size."""


def silent(phase: str, done: int, total: int) -> None:
    """Nobody looks on."""


def spoken(seconds: float) -> str:
    """A time in a unit that fits, such as "3 min"."""
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
