"""Ends of a process at a moment of one's choice, also in the middle of a write; in forks of this one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.run._kills import Moments, forked
from unweave.ledger import index

SPOTS: tuple[tuple[Any, str], ...] = (
    (os, "pwrite"),
    (os, "fsync"),
    (os, "ftruncate"),
    (os, "replace"),
    (os, "link"),
    (os, "open"),
    (Path, "mkdir"),
    (Path, "write_bytes"),
    (index.Index, "follow"),
    (index, "_entries"),  # inside the index's transaction
    (index, "_rows"),
)


class Torn(Moments):
    """Moments at which a write may have come to the disk in part only: `share` of it; `writes` are their numbers."""

    share = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[int] = []


@contextmanager
def watched() -> Iterator[Torn]:
    """The moments around every call that changes something on the disk; nothing waits for the disk itself."""
    moments = Torn()

    def around(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if name == "pwrite":
                moments.writes.append(moments.passed + 1)
                handle, data, place = arguments
                if moments.left == 1:
                    function(handle, data[: int(moments.share * len(data))], place)
            moments.pass_one()
            outcome = function(*arguments, **named)
            moments.pass_one()
            return outcome

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in SPOTS:
            patch.setattr(owner, name, around(name, (lambda _: None) if name == "fsync" else getattr(owner, name)))
        yield moments


def killed(action: Callable[[], object], moments: Torn, at: int, share: float) -> int:
    """Runs it in a child that kill -9 ends at that moment; the signal that ended it, or 0."""

    def child() -> None:
        moments.left, moments.act, moments.share = at, lambda: os.kill(os.getpid(), signal.SIGKILL), share
        action()

    return forked(child)
