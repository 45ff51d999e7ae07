r"""Does it come back? Attacks on original, never-saw control and unlearned model alike: relearning, low precision.

Relearning: what was only hidden comes back with data that do not hold it, and faster than a model that never knew it
learns it. So a curve over steps, and its half-life, has a meaning only beside that of the never-saw control (Deeb and
Roger, arXiv:2410.08827; what the attack itself teaches: arXiv:2506.00688).

Low precision: an update smaller than half a bucket rounds away, and the quantised unlearned model is the quantised
original. 83 % of what language models had "forgotten" came back at 4 bits (arXiv:2410.16454). Fake quantisation:

    s = max |w| / (2^(bits - 1) - 1)  over a group of weights,    q = round(w / s),    w' = s q

Groups of 128 along a row of `[outputs, inputs ...]`, the last of a row shorter; symmetric, to the nearest even. Tensors
with one axis (biases, normalisation) and buffers keep their precision, as in weight-only quantisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unweave.arguments import SEEDS, fault
from unweave.data.batches import moved
from unweave.errors import ConfigurationError
from unweave.evaluation.metric import Metric
from unweave.evaluation.outputs import Classifier, predict
from unweave.execution import device_of
from unweave.gramian import real
from unweave.modalities.images.tensors import TensorImages
from unweave.modalities.records.data import Records
from unweave.modules import copied
from unweave.recipe.evidence import RelearningSection
from unweave.sharded import packed

GROUP = 128
UNCHANGED = Metric(
    "unchanged",
    "share of the weights that, rounded, are in the bucket of the original's grid that the original's are in",
    *("share", "lower", (0, 1), "run", "the original's and the unlearned model's matrices", "one model by its weights"),
    *(
        "arXiv:2410.16454",
        "a retrained model's, from another start: 0.11 to 0.12 at int4 in docs/how-to-read-the-evidence.md",
    ),
    plain="weights that round to the original's",
)
_CURVE = ("images to learn from and forget examples to score", "never: nothing to learn or to score is an error")
_DEEB = "Deeb and Roger, arXiv:2410.08827; the control: arXiv:2506.00688"
CONFIDENCE = Metric(
    "relearned_confidence",
    "mean p_y of the scored forget examples after so many steps of Adam on the attacker's examples",
    *("share", "as null", (0, 1), "run", *_CURVE, _DEEB, "the never-saw control's curve"),
    plain="how sure the model is again of the data to forget",
)
ACCURACY = Metric(
    "relearned_accuracy",
    "accuracy on the scored forget examples after so many steps of Adam on the attacker's examples",
    *("share", "as null", (0, 1), "run", *_CURVE, _DEEB, "the never-saw control's curve"),
    plain="right again on the data to forget",
)
HALF_LIFE = Metric(
    "half_life",
    "steps until relearned_confidence is half way from the control to the original, as they were before",
    *("steps", "as null", (0, math.inf), "run", "curves of originals and controls, too"),
    *("the curve never gets there: more than the last step", _DEEB, "the never-saw control's"),
    plain="steps until half is back",
)

_USUAL = RelearningSection()  # what a recipe says nothing of


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

    steps: tuple[int, ...] = _USUAL.steps
    lr: float = _USUAL.lr
    batch: int = _USUAL.batch
    share: float = _USUAL.share
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

    def look(attacked: nn.Module) -> tuple[float, float]:
        outputs = predict(attacked, task, scored, name="scored")
        return float(outputs.confidence.mean()), float(outputs.correct.mean())

    def loss(attacked: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(task.logits(attacked, batch), batch[1])

    return relearned(model, learned, how, loss, look)


def relearned(
    model: nn.Module,
    learned: TensorImages | Records,
    how: Relearning,
    loss: Callable[[nn.Module, Any], Tensor],
    look: Callable[[nn.Module], tuple[float, float]],
) -> Curve:
    """The curve of a copy of the model that is trained on some examples; the model stays as it is.

    Args:
        model: attacked in evaluation mode.
        learned: what the attacker has.
        how: it trains.
        loss: of a batch.
        look: confidence and accuracy of a model on what is scored.
    """
    attacked = copied(model).eval().requires_grad_(True)
    optimizer = torch.optim.Adam(attacked.parameters(), lr=how.lr)
    generator = torch.Generator().manual_seed(how.seed)
    order = torch.empty(0, dtype=torch.int64)
    confidence, accuracy, made = list[float](), list[float](), 0
    for until in how.steps:
        for _ in range(until - made):
            if len(order) < min(how.batch, len(learned)):
                order = torch.cat([order, torch.randperm(len(learned), generator=generator)])
            rows, order = order[: how.batch], order[how.batch :]
            optimizer.zero_grad()
            loss(attacked, moved(learned.batch(rows), device_of(attacked))).backward()
            optimizer.step()
        made = until
        for values, value in zip((confidence, accuracy), look(attacked), strict=True):
            values.append(value)
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


@torch.no_grad()
def quantised(model: nn.Module, bits: int, group: int = GROUP) -> nn.Module:
    """A copy of the model whose matrices and kernels hold only `2^bits - 1` values per group.

    Args:
        model: any module; it stays as it is.
        bits: of a weight, 2 to 8.
        group: weights that share a scale.

    Raises:
        ConfigurationError: bits or group out of range.
    """
    if not (2 <= bits <= 8 and group >= 1):
        raise ConfigurationError(f"bits must be 2 to 8 and group at least 1; found bits={bits}, group={group}.")
    made = copied(model)
    for weight in _matrices(made):
        scale = _scale(weight, bits, group)
        weight.copy_(torch.where(scale > 0, (weight / scale).round() * scale, weight))
    return made


@torch.no_grad()
def unchanged(original: nn.Module, unlearned: nn.Module, bits: int, group: int = GROUP) -> float:
    """Share of the quantised weights that are in the bucket, of the original's grid, that the original's are in.

    Raises:
        ConfigurationError: the two models have different matrices.
    """
    same = total = 0
    pairs = list(_matrices(original)), list(_matrices(unlearned))
    if [w.shape for w in pairs[0]] != [w.shape for w in pairs[1]]:
        raise ConfigurationError("Buckets can be compared between models of one architecture only.")
    for before, after in zip(*pairs, strict=True):
        scale = _scale(before, bits, group)
        own, other = ((w / scale).round() for w in (before, after))
        same += int(torch.where(scale > 0, own == other, before == after).sum())
        total += before.numel()
    return same / total if total else 1.0


def _matrices(model: nn.Module) -> Iterator[Tensor]:
    """But those that are integers already."""
    return (real(p) for p in model.parameters() if p.ndim >= 2 and not packed(p))


def _scale(weight: Tensor, bits: int, group: int) -> Tensor:
    """The scale of every weight, in its shape; 0 where a group is all zero."""
    rows = weight.flatten(1)
    width = rows.shape[1]
    padded = nn.functional.pad(rows.abs(), (0, -width % group)).unflatten(1, (-1, group))
    scale = padded.amax(2, keepdim=True).expand_as(padded).flatten(1)[:, :width]
    return (scale / (2 ** (bits - 1) - 1)).reshape(weight.shape)
