"""Steps on the way to a bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unweave.results import Record
from unweave.watch import Watch

if TYPE_CHECKING:
    from unweave.objectives import Objectives

UNLEARNING = "unlearning"


@dataclass(frozen=True)
class Watched:
    """Tells a `Watch` how many of the steps are made.

    Args:
        watch: whom.
        steps: of the run, at most: it may end before, and the time that is left is that of all of them.
    """

    watch: Watch
    steps: int

    def on_step(self, record: Record, objectives: Objectives) -> None:
        """One more."""
        self.watch(UNLEARNING, min(record.number, self.steps), self.steps)
