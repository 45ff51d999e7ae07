"""Ways to end a process at a moment of one's choice, in forks of this one: they start at once, torch is there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from unweave.data.pairs import Pairs
from unweave.objectives import Objectives
from unweave.recipe.recipe import Recipe
from unweave.run import checkpoint, directory, outcome
from unweave.run.runner import run
from unweave.run.steps_log import StepLog

SPOTS: tuple[tuple[Any, str], ...] = (
    (os, "replace"),
    (os, "fsync"),
    (shutil, "rmtree"),
    (Path, "write_bytes"),
    (Path, "mkdir"),
    (checkpoint, "save_tensors"),
    (StepLog, "__call__"),
    (Objectives, "at"),
    (Objectives, "direction"),
    (Objectives, "clear"),
    (Objectives, "losses"),
    (Objectives, "move"),
    (Pairs, "state_dict"),
    (outcome, "summary"),
)
"""Calls around which a run may be ended: every write to the disk, and the parts of a step."""


class Moments:
    """Counts what `SPOTS` names, before and after each call; at a chosen count, acts."""

    def __init__(self) -> None:
        self.passed, self.left = 0, -1
        self.act: Callable[[], object] = lambda: None

    def pass_one(self) -> None:
        """One more moment."""
        self.passed += 1
        self.left -= 1
        if self.left == 0:
            self.act()


@contextmanager
def watched() -> Iterator[Moments]:
    """The moments of everything that runs inside; nothing waits for the disk, since only the process dies."""
    moments = Moments()

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            moments.pass_one()
            outcome = function(*arguments, **named)
            moments.pass_one()
            return outcome

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in SPOTS:
            patch.setattr(owner, name, around((lambda _: None) if name == "fsync" else getattr(owner, name)))
        yield moments


def forked(action: Callable[[], object]) -> int:
    """Runs it in a child; the signal that ended it, or 0 if it went to its end.

    Raises:
        AssertionError: it failed by itself.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            action()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"the child failed: {status}"
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def killed(action: Callable[[], object], moments: Moments, at: int) -> int:
    """Runs it in a child that kill -9 ends at that moment."""

    def child() -> None:
        moments.left, moments.act = at, lambda: os.kill(os.getpid(), signal.SIGKILL)
        action()

    return forked(child)


def timed(action: Callable[[], object], seconds: float, number: int = signal.SIGKILL) -> int:
    """Runs it in a child that gets the signal after some time, wherever it is then."""

    def child() -> None:
        if number == signal.SIGKILL:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process as SIGKILL does: no code runs
        else:
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            action()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)  # it ended first: nothing may come between here and its exit

    return forked(child)


def killed_until_done(
    recipe: Recipe, folder: Path, moments: Moments, dice: random.Random, total: int, seconds: float
) -> int:
    """Killed at random moments, by count and by clock in turns, resumed each time; then left to end."""
    kills = 0
    while kills < 4:  # by clock every third time
        again = folder.exists() and directory.finished(folder) is None
        what = lambda: run(recipe, folder, resume=again, overwrite=not again)  # noqa: B023, E731
        if kills % 3 == 2:
            kills += timed(what, dice.uniform(0, seconds)) == signal.SIGALRM
        else:
            kills += killed(what, moments, dice.randint(1, total)) == signal.SIGKILL
    run(recipe, folder, resume=True)
    return kills
