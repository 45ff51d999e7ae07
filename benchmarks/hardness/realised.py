"""What a request really costs at equal forgetting."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import fmean
from typing import Any, Protocol

from asked import kept_test, some
from torch import nn

from unweave import METHODS, TrustRegion
from unweave.data.pairs import Pairs
from unweave.evaluation import predict
from unweave.gramian import norm
from unweave.loop import Record
from unweave.modalities.images.job import ImageJob
from unweave.modalities.images.tensors import TensorImages
from unweave.objectives import Objectives
from unweave.rules import Rule

RISE = 1.0  # nats: the forget loss has risen by so much
RULES = ("ascent", "hamu_q", "default")


class Stepper(Protocol):
    """The part of `unweave.loop.Stepper` that is used here."""

    def take(self, number: int, rule: Rule, objectives: Objectives) -> Record: ...


@dataclass
class FixedLength:
    """Steps of one length, a share of the norm of the weights: nothing is looked at, nothing undone."""

    share: float

    def take(self, number: int, rule: Rule, objectives: Objectives) -> Record:
        size = float(norm(objectives.snapshot()))
        objectives.radius = None
        step = rule.backward(objectives)
        direction = objectives.direction()
        lr = self.share * size / (float(norm(direction)) or 1.0)
        objectives.lr = lr
        objectives.move(direction, -lr)
        objectives.clear()
        rule.observe(objectives)
        return Record(number, step, lr, True)


@dataclass(frozen=True)
class Size:
    """How long and on how many examples.

    Attributes:
        step: length of a step as a share of the norm of the weights.
        steps: at most so many.
        retain_batch: retain examples of a step; 64 forget examples always.
        look: forget examples read after each step.
        scored: retain and test examples read before and after.
    """

    step: float
    steps: int
    retain_batch: int
    look: int
    scored: int


@dataclass(frozen=True)
class Realised:
    """How a run went.

    Attributes:
        reached: the forget loss rose by `RISE`.
        forget: by how much it did.
        retain, test: rise of the mean nll where the forget loss had risen by `RISE`, linear between the steps around;
            at the end if it never did. The test set is that of the classes kept.
        accuracy: fall of the test accuracy, likewise.
        steps: so many.
        kappa, cosine: HAMU's hardness of a step's pair, and the cosine of grad L_f and grad L_r; means over the steps,
            None for a rule that looks at one gradient.
    """

    reached: bool
    forget: float
    retain: float
    test: float
    accuracy: float
    steps: int
    kappa: float | None = None
    cosine: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def realised(original: nn.Module, asked: ImageJob, rule: str, size: Size) -> Realised:
    """Unlearns a copy until the forget loss has risen by `RISE`, and reads what that cost.

    `ascent`: gradient ascent, `hamu_q`: HAMU-Q with ratio .5, both with steps of one length; `default`: HAMU-Q as it
    comes, in its trust region, whose budget limits the retain loss by itself.
    """
    model = copy.deepcopy(original)
    made = METHODS["gradient_ascent"] if rule == "ascent" else METHODS["hamu_q"]
    method = made(asked.task, model, ratio=0.5) if rule == "hamu_q" else made(asked.task, model)
    stepper: Stepper = TrustRegion() if rule == "default" else FixedLength(size.step)
    objectives = Objectives(model, (method.forget, method.retain))
    look = some(asked.forget, size.look)
    sets = some(asked.retain, size.scored), some(kept_test(asked), size.scored)
    start, scores = _nll(model, asked, look), _scores(model, asked, sets)
    risen, before, kappas, cosines = [0.0], objectives.snapshot(), [], []
    pairs = Pairs(asked.forget, asked.retain, forget_batch=64, retain_batch=size.retain_batch, seed=0)
    for number, pair in enumerate(islice(pairs, size.steps), 1):
        before = objectives.snapshot()
        g = stepper.take(number, method.rule, objectives.at(pair)).step.gramian
        if g is not None:
            whole = g.sum(0)
            kappas.append(-float(whole[0, 1]))
            cosines.append(-float(whole[0, 1] / (whole[0, 0] * whole[1, 1]).sqrt()))
        risen.append(_nll(model, asked, look) - start)
        if not risen[-1] < RISE:
            break
    after = _scores(model, asked, sets)
    reached = risen[-1] >= RISE
    if reached:
        objectives.restore(before)
        near, w = _scores(model, asked, sets), (RISE - risen[-2]) / (risen[-1] - risen[-2])
        after = [a + w * (b - a) for a, b in zip(near, after, strict=True)]
    retain, test, accuracy = (b - a for a, b in zip(scores, after, strict=True))
    means = (fmean(values) if values else None for values in (kappas, cosines))
    return Realised(reached, risen[-1], retain, test, -accuracy, len(risen) - 1, *means)


def _nll(model: nn.Module, asked: ImageJob, data: TensorImages) -> float:
    return float(predict(model, asked.task, data).nll.mean())


def _scores(model: nn.Module, asked: ImageJob, sets: tuple[TensorImages, TensorImages]) -> list[float]:
    """Retain nll, test nll, test accuracy."""
    retain, test = (predict(model, asked.task, data) for data in sets)
    return [float(retain.nll.mean()), float(test.nll.mean()), float(test.correct.mean())]
