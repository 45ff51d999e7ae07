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
        steps: of the run, at most.
        early: whether it may well end before: then its name says so, as the time that is left is that of all steps.
    """

    watch: Watch
    steps: int
    early: bool = False

    def on_step(self, record: Record, objectives: Objectives) -> None:
        """One more."""
        name = f"{UNLEARNING} (may end earlier)" if self.early else UNLEARNING
        self.watch(name, min(record.number, self.steps), self.steps)
