"""Words on stderr while a command runs: warnings, and what must be said."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console


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
