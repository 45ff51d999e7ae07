"""One step as it happened, and counts of all of them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unweave.diagnosis import cosine
from unweave.rules._base import RETAIN, Step


@dataclass(frozen=True)
class Record:
    """One step as it happened; what callbacks and stopping criteria read.

    Attributes:
        number: from 1, counting on in a resumed run.
        step: what the rule saw and decided.
        lr: the length per unit of direction that was taken; 0 if the step was refused.
        accepted: whether the weights moved.
        realised: change of both losses on the same pair, `[2]`, where it was looked at; NaN for a side that was not, as
            the forget side is not while repairing, and else at every second step of a trust region.
        radius: the trust region's radius, if there is one.
        note: why a step was refused or rolled back.
        phase: "push", "repair" or "lost" (`repair.Repair`), where the run repairs.
    """

    number: int
    step: Step
    lr: float
    accepted: bool
    realised: Tensor | None = None
    radius: float | None = None
    note: str = ""
    phase: str = ""

    @property
    def retain(self) -> float:
        """The retain loss of its examples, before it."""
        return float(self.step.losses[RETAIN])

    @property
    def predicted(self) -> Tensor | None:
        """First-order change of both losses by this step, `[2]`."""
        return None if self.step.predicted is None else self.lr * self.step.predicted

    @property
    def numbers(self) -> dict[str, float]:
        """What can be drawn over the steps, by name: a column of `Result.frame`, a curve of a logger.

        Both objectives before the step, which it is to lower (that of ascent is minus the loss), the cosine of the two
        gradients over the whole model where the rule looked at them, the length per unit of direction, the radius where
        there is one, and whether the weights moved (1 or 0).
        """
        forget, retain = self.step.losses.tolist()
        found = {"forget_objective": forget, "retain_objective": retain}
        if self.step.gramian is not None:
            found["cosine"] = float(cosine(self.step.gramian.sum(0)))
        found["lr"] = self.lr
        if self.radius is not None:
            found["radius"] = self.radius
        return found | {"accepted": float(self.accepted)}


@dataclass
class Progress:
    """What a run has made so far; a resumed one counts on.

    Attributes:
        made: steps, those that moved nothing too.
        skipped: of them, those with a non-finite loss or direction.
        rejected: of them, those refused or undone.
        failures: non-finite steps in a row, up to the last one.
    """

    made: int = 0
    skipped: int = 0
    rejected: int = 0
    failures: int = 0

    def count(self, record: Record) -> None:
        """One more step."""
        skipped = record.note.startswith("non-finite")
        self.made += 1
        self.skipped += skipped
        self.rejected += not (record.accepted or skipped)
        self.failures = self.failures + 1 if skipped else 0
