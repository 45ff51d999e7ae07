"""After the last step: did anything happen, and is anything left?"""

from __future__ import annotations

import torch
from torch import nn

from unweave.contract.sets import Data
from unweave.guards.finding import CONSTANT, SPREAD
from unweave.guards.look import look, sample
from unweave.tasks import Task


def nothing_changed(moved: bool, same_scores: bool = False) -> str:
    """What to say of a run that left the model, or all its scores, as it was; nothing where it did not."""
    if not moved:
        return "THE RUN CHANGED NOTHING: no weight of the model differs from the original's."
    return "THE RUN CHANGED NO SCORE: weights moved, but every score is the original's." if same_scores else ""


def collapsed(model: nn.Module, task: Task, retain: Data, seed: int = 0) -> str:
    """What to say of a model that answers nearly always with one class, on 500 retain examples at most."""
    seen = look(model, task, sample(retain, seed), seed)
    if seen.labels is None or seen.predicted is None or not len(seen.labels):
        return ""
    n = len(seen.labels)
    predicted, true = (torch.bincount(values) for values in (seen.predicted, seen.labels))
    if float(predicted.max()) / n <= CONSTANT or float(true.max()) / n > SPREAD:
        return ""
    most = [100 * float(counts.max()) / n for counts in (predicted, true)]
    return (
        f"THE MODEL COLLAPSED: it predicts class {int(predicted.argmax())} for {most[0]:.1f} % of {n} retain examples, "
        f"of which no class has more than {most[1]:.1f} %. Use a smaller step (step='trust' bounds it), fewer steps, "
        "or a contract with a keep clause."
    )
