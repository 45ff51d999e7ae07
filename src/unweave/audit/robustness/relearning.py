r"""How fast does it come back when the model is trained a little: curves over steps, and their half-life.

What was only hidden comes back with data that do not hold it, and faster than a model that never knew it learns it. So
a curve has a meaning only beside that of the never-saw control (Deeb and Roger, arXiv:2410.08827; what the attack
itself teaches: arXiv:2506.00688).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from unweave.errors import SEEDS, ConfigurationError, fault
from unweave.evaluation.evidence import Metric
from unweave.evaluation.outputs import Classifier, predict
from unweave.modalities.images.tensors import TensorImages
from unweave.modules import copied

_CURVE = ("images to learn from and forget examples to score", "never: nothing to learn or to score is an error")
_DEEB = "Deeb and Roger, arXiv:2410.08827; the control: arXiv:2506.00688"
CONFIDENCE = Metric(
    "relearned_confidence",
    "mean p_y of the scored forget examples after so many steps of Adam on the attacker's examples",
    *("share", "as null", (0, 1), "run", *_CURVE, _DEEB, "the never-saw control's curve"),
)
ACCURACY = Metric(
    "relearned_accuracy",
    "accuracy on the scored forget examples after so many steps of Adam on the attacker's examples",
    *("share", "as null", (0, 1), "run", *_CURVE, _DEEB, "the never-saw control's curve"),
)
HALF_LIFE = Metric(
    "half_life",
    "steps until relearned_confidence is half way from the control to the original, as they were before",
    *("steps", "as null", (0, math.inf), "run", "curves of originals and controls, too"),
    *("the curve never gets there: more than the last step", _DEEB, "the never-saw control's"),
)


@dataclass(frozen=True)
class Relearning:
    """How the attacker trains: Adam on batches of what it has.

    Args:
        steps: numbers of steps after which the model is scored, ascending, from 0.
        lr: of Adam.
        batch: examples a step; all, where there are fewer.
        share: of the forget set that the attacker is given in the first of the three attacks.
        seed: of that share and of the batches.

    Raises:
        ConfigurationError: numbers out of range, all of them at once.
    """

    steps: tuple[int, ...] = (0, 1, 2, 5, 10, 20, 50)
    lr: float = 1e-3
    batch: int = 64
    share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        ascending = self.steps[:1] == (0,) and all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        faults = [
            f"relearning.{name} must be {wanted}, found {getattr(self, name)}"
            for name, wanted, met in (
                ("steps", "ascending from 0, two at least", ascending and len(self.steps) > 1),
                ("lr", "above 0", self.lr > 0),
                ("batch", "at least 1", self.batch >= 1),
                ("share", "above 0 and below 1", 0 < self.share < 1),
                ("seed", f"in {SEEDS}", not fault("seed", self.seed, int, SEEDS)),
            )
            if not met
        ]
        if faults:
            raise ConfigurationError(faults)


@dataclass(frozen=True)
class Curve:
    """Scores after 0, 1, ... steps: the mean p_y and the accuracy on the scored examples."""

    steps: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def level(self) -> float:
        """Mean p_y over the steps after 0, each number of steps counting once: one number a model for a comparison."""
        return sum(self.confidence[1:]) / len(self.confidence[1:])


def relearn(model: nn.Module, task: Classifier, learned: TensorImages, scored: TensorImages, how: Relearning) -> Curve:
    """The curve of a copy of the model that is trained on `learned` and scored on `scored`; the model stays as it is.

    Evaluation mode throughout: BatchNorm and dropout do not move. The same seed gives every model the same batches.

    Raises:
        ConfigurationError: nothing to learn, or nothing to score.
    """
    if not (len(learned) and len(scored)):
        raise ConfigurationError(
            f"relearning needs examples to learn and to score; found {len(learned)} and {len(scored)}"
        )
    attacked = copied(model).eval().requires_grad_(True)
    optimizer = torch.optim.Adam(attacked.parameters(), lr=how.lr)
    generator = torch.Generator().manual_seed(how.seed)
    order = torch.empty(0, dtype=torch.int64)
    confidence, accuracy, made = [], [], 0
    for until in how.steps:
        for _ in range(until - made):
            if len(order) < min(how.batch, len(learned)):
                order = torch.cat([order, torch.randperm(len(learned), generator=generator)])
            rows, order = order[: how.batch], order[how.batch :]
            images, labels = learned.batch(rows)
            optimizer.zero_grad()
            F.cross_entropy(task.logits(attacked, (images, labels)), labels).backward()
            optimizer.step()
        made = until
        outputs = predict(attacked, task, scored, name="scored")
        confidence.append(float(outputs.confidence.mean()))
        accuracy.append(float(outputs.correct.mean()))
    return Curve(how.steps, tuple(confidence), tuple(accuracy))


def half_life(steps: Sequence[int], values: Sequence[float], halfway: float) -> float | None:
    """Steps until the curve first reaches `halfway`, straight lines between its points; None if it never does.

    None is a censored observation, "more than the last step", and no infinity.
    """
    if values[0] >= halfway:
        return float(steps[0])
    for (s, x), (t, y) in zip(zip(steps, values, strict=True), list(zip(steps, values, strict=True))[1:], strict=False):
        if y >= halfway:
            return s + (t - s) * (halfway - x) / (y - x)
    return None
