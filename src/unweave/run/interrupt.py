"""Ctrl-C ends a run between two steps, so that what was computed is whole and can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from unweave import ranks

REASON = "interrupted"


class Interrupt:
    """Notes that SIGINT or SIGTERM came while the block runs; a second signal acts as usual."""

    def __init__(self) -> None:
        self.came = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            for number in self._before:
                signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self._put_back()

    def _put_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def agreed() -> Iterator[Callable[[], bool]]:
    """Inside, whether a signal came to any of several processes, who ask together; to one alone it acts at once."""
    if not ranks.several():
        yield lambda: False
        return
    with Interrupt() as interrupt:
        yield lambda: ranks.any_of(interrupt.came)
