"""How a run says what it is doing, without knowing who looks on."""

from __future__ import annotations

from collections.abc import Callable

Watch = Callable[[str, int, int], None]
"""Called with the name of a phase, how much of it is done, and its size."""


def silent(phase: str, done: int, total: int) -> None:
    """Nobody looks on."""
