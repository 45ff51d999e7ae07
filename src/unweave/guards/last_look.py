"""After the last step: what the model that is left makes of both sides, against what the original made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from unweave.execution import seeded
from unweave.guards.postcheck import collapsed, nothing_changed, same_scores
from unweave.guards.probe import Seen, probed
from unweave.samples import Data
from unweave.tasks import Known, Task

if TYPE_CHECKING:
    from unweave.results.result import Called, Result


@dataclass
class LastLook:
    """A callback that looks at the model once the run is over, and writes into the result what the one call knows.

    Args:
        model, task, forget, retain, seed: as of `probe.probed`.
        call: what the result can be asked for more.
        before: what the original made of both sides; empty where no step was asked for, and nothing is looked at.
        warnings: what was found before the run.
        moved: whether any weight is another now.
    """

    model: nn.Module
    task: Task
    forget: Data
    retain: Data
    seed: int
    call: Called
    before: Mapping[str, Seen]
    warnings: list[str]
    moved: Callable[[], bool]

    def on_end(self, result: Result) -> None:
        """Looks."""
        result.task, result.call, found = self.task, self.call, [*self.warnings, *result.warnings]
        if self.before:
            with seeded(self.seed):
                sides = (self.model, self.task, self.forget, self.retain)
                after = probed(*sides, self.seed) if result.steps else self.before
            result.changes = changes(self.before, after, Known(self.task).unit)
            lost = result.reason if result.reason.startswith("diverged") else collapsed(after, self.before)
            found += [nothing_changed(self.moved(), same_scores(self.before, after)), lost]
        result.warnings = [text for text in found if text]


def changes(before: Mapping[str, Seen], after: Mapping[str, Seen], unit: str) -> dict[str, tuple[float, float]]:
    """Mean loss, and accuracy where there are classes, of each side, before and after."""
    found = {}
    for side, seen in before.items():
        now = after[side]
        losses = (float(each.loss.double().mean()) for each in (seen, now))
        found[f"{side} loss ({unit})"] = (next(losses), next(losses))
        if seen.labels is not None and now.labels is not None and len(seen.labels):
            found[f"{side} accuracy"] = (seen.correct / len(seen.labels), now.correct / len(now.labels))
    return found
