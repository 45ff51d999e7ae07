"""After the last step: did anything happen, and is anything left?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from unweave.guards.finding import CONSTANT, LOST, SPREAD
from unweave.guards.probe import Seen

_MEND = "Use a smaller step (step='trust' bounds it), fewer steps, or a contract with a keep clause."


def nothing_changed(moved: bool, same: bool = False) -> str:
    """What to say of a run that left the model, or all its scores, as it was; nothing where it did not."""
    if not moved:
        return "THE RUN CHANGED NOTHING: no weight of the model differs from the original's."
    if not same:
        return ""
    return (
        "THE RUN CHANGED NO SCORE: weights moved, but every score, as it is printed, is the original's. Use a larger "
        "step or more of them."
    )


def same_scores(before: Mapping[str, Seen], after: Mapping[str, Seen]) -> bool:
    """Whether two looks would print alike: the same predictions, and the mean loss of each side to three digits."""
    for name, seen in before.items():
        now = after[name]
        losses = [float(each.loss.double().mean()) for each in (seen, now)]
        if f"{losses[0]:.3g}" != f"{losses[1]:.3g}" or not math.isfinite(losses[0]):
            return False
        if seen.predicted is not None and now.predicted is not None and not torch.equal(seen.predicted, now.predicted):
            return False
    return True


def not_finite(after: Mapping[str, Seen]) -> bool:
    """Whether a model's loss is no number somewhere."""
    return not all(bool(seen.loss.isfinite().all()) for seen in after.values())


def collapsed(after: Mapping[str, Seen], before: Mapping[str, Seen] | None = None) -> str:
    """What to say of a model whose loss is no number or absurd, or that answers nearly always with one class.

    Of an original (`before`) that knew nothing to begin with, that has been said.
    """
    if not_finite(after):
        counts = [f"{int((~s.loss.isfinite()).sum())} of {len(s.loss)} {name}" for name, s in after.items()]
        return f"THE MODEL COLLAPSED: its loss is not finite on {' and '.join(counts)} examples. {_MEND}"
    seen = after["retain"]
    mean = float(seen.loss.double().mean())
    if seen.lost and not (before and before["retain"].lost):
        return (
            f"THE MODEL COLLAPSED: its mean loss on {len(seen.loss)} retain examples is {mean:.3g}, where a model that "
            f"knows nothing has {seen.guess:.3g}. {_MEND}"
        )
    if seen.labels is None or seen.predicted is None or not len(seen.labels):
        return ""
    n, guess = len(seen.labels), math.log(max(seen.classes, 2))
    if told := one_class(seen.predicted, seen.labels, "it predicts class {} for {} of {} retain examples"):
        return told
    if mean > LOST * guess:
        return (
            f"THE MODEL COLLAPSED: its mean loss on {n} retain examples is {mean:.3g} nats, where a guess among all "
            f"classes has {guess:.3g}. {_MEND}"
        )
    return ""


def one_class(found: Tensor, wanted: Tensor, text: str) -> str:
    """What to say where nearly all answers are one class, and should not be.

    Args:
        found: class of each answer, `[n]`.
        wanted: class that each should have, `[n]`.
        text: what is so, with room for the class, the share and n.
    """
    if not (n := len(found)):
        return ""
    most, due = (torch.bincount(values) for values in (found, wanted))
    if float(most.max()) / n <= CONSTANT or float(due.max()) / n > SPREAD:
        return ""
    shares = [100 * float(counts.max()) / n for counts in (most, due)]
    said = text.format(int(most.argmax()), f"{shares[0]:.1f} %", n)
    return f"THE MODEL COLLAPSED: {said}, of which no class has more than {shares[1]:.1f} %. {_MEND}"
