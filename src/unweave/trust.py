"""The step length: a trust region around any rule. No learning rate to tune; what a step did is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unweave.arguments import check_fields, kind
from unweave.data.draws import kept_streams
from unweave.gramian import norm
from unweave.objectives import Objectives
from unweave.parameters import Mask
from unweave.places import Place, Shelf
from unweave.results import Record
from unweave.rules._base import FORGET, RETAIN, Rule, Step

# The same for every data set; docs/LOG.md shows what they were chosen from. Lengths are shares of |theta|.
START, LARGEST, SMALLEST = 1e-3, 0.05, 1e-8
GROW, SLOWER, SHRINK, HALVINGS = 1.3, 1.1, 0.5, 4
EVERY = 2  # steps for one look at the forget side
BUDGET, RELATIVE = 0.02, 0.05  # default budget: nats, and share of the starting retain loss
REPAIR = 2.5e-3  # largest radius while repairing, as a share of |theta|
SHARE = 0.5  # of the budget that one step may use up
MEMORY = 0.7  # of the running mean of the retain loss
EXCESS = 0.25  # of a rise over the predicted one, as a share of both predicted changes, beyond which growth is slower
OPPOSED = 0.1  # sin^2 of the angle between the gradients below which a restoration is the retain gradient alone
ORIGIN = 3  # steps whose retain loss makes up the starting level


def tolerance(origin: float, nats: bool) -> float:
    """A default budget: 0.02 nats plus 5 % of the starting level; where the loss is in no nats, the 5 % alone."""
    return (BUDGET if nats else 0.0) + RELATIVE * abs(origin)


@dataclass
class TrustRegion:
    r"""Scales a rule's direction `D` to a radius `R`, looks at what the step did, and adapts `R`.

        theta <- theta - (R / |D|) D,    rise = realised change of the retain loss on the same pair

    1. While the running mean of the retain loss is above its starting level plus the budget, steps descend the retain
       loss ("restoration") along `g_r - min(<g_f, g_r>, 0) / |g_f|^2 g_f`, which to first order undoes no forgetting,
       or along g_r where the two are all but opposed. The rule is asked again once the level is kept.
    2. A step whose predicted rise exceeds its allowance, half the budget, is shortened to it beforehand.
    3. `rise > allowance` or not finite: the step is halved, up to four times, then undone; R shrinks with it.
       `rise < allowance / 2`: R grows, by 1.3 where the first order held (the rise is over the predicted one by no more
       than a quarter of what was predicted for both losses, in absolute values), else by 1.1.

    The retain side decides, and is looked at after every step. The forget side is looked at after every second one, and
    after every one where the rule is steered by what a step did ("auto"): a step that makes its loss infinite is halved
    like one that costs too much. Where it gets there unseen, the next step is refused.

    The step is a plain one, without momentum: a rule's first-order guarantees are those of the step taken. A rule that
    gives its own step length (OFMU) reads the radius from `Objectives.radius`.

    Args:
        budget: tolerated rise of the retain loss over its starting level, in its unit; None is what `tolerance` says.
        start: first radius, as a share of the parameters' norm.
        mask: elements of the direction that may be non-zero.

    Attributes:
        size: `|theta|` at the first step.
        radius: current radius, absolute.
        cap: largest radius that it may grow to; `shrink` lowers it.
        left: share of the budget that is still in force; `shrink` lowers it.
        nats: whether the retain loss is in nats.
        origin, level: starting level and running mean of the retain loss.
        restorations: steps that only descended the retain loss.
        debt: budgets that the running mean may stand above its start before it is brought down: 1, and more where a
            `repair.Repair` brings it down later.
        place: where the weights from before the step lie.
        repairing: the steps are those of a `repair.Repair`: at most 0.0025 |theta| long, no growth, no restoration, and
            no look at the forget side, which decides nothing there.
    """

    budget: float | None = None
    start: float = START
    mask: Mask | None = None
    size: float | None = field(default=None, init=False)
    radius: float | None = field(default=None, init=False)
    cap: float = field(default=math.inf, init=False)
    left: float = field(default=1.0, init=False)
    nats: bool = field(default=True, init=False)
    origin: float | None = field(default=None, init=False)
    level: float | None = field(default=None, init=False)
    seen: int = field(default=0, init=False)
    restorations: int = field(default=0, init=False)
    debt: float = field(default=1.0, init=False)
    repairing: bool = field(default=False, init=False)
    place: Place = field(default="device", init=False)
    _before: Shelf | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        mask = kind("a parameters.Mask or None", Mask, None)
        check_fields(self, budget="(0, inf]", start=f"(0, {LARGEST}]", mask=mask)

    @property
    def tolerated(self) -> float:
        """The budget in force, in the unit of the retain loss."""
        budget = tolerance(self.origin or 0.0, self.nats) if self.budget is None else self.budget
        return self.left * budget

    @kept_streams()
    def take(self, number: int, rule: Rule, objectives: Objectives) -> Record:
        """One step of the rule, or one restoration; the record says what was realised.

        Whatever interrupts it, weights and buffers are afterwards those of the last step that was taken.
        """
        if self._before is None or self._before.place != self.place:
            self._before = Shelf(self.place)
        self._before.take(objectives.parameters)
        try:
            return self._take(number, rule, objectives, self._before)
        except BaseException:
            self._before.restore(objectives.parameters)
            objectives.discard()
            raise

    def _take(self, number: int, rule: Rule, objectives: Objectives, before: Shelf) -> Record:
        # 1. The direction: the rule's, or back down the retain loss where its running level is over budget.
        if self.size is None:
            self.size = float(norm([p.detach() for p in objectives.parameters])) or 1.0
        size = self.size
        radius = self.radius = min(self.start * size, self.cap) if self.radius is None else self.radius
        largest = (REPAIR if self.repairing else LARGEST) * size
        radius = self.radius = min(radius, largest)
        objectives.radius, objectives.lr = radius, 0.0
        over = self.level is not None and self.level > (self.origin or 0.0) + self.debt * self.tolerated
        restoring = over and not self.repairing
        step = self._restoration(objectives) if restoring else rule.backward(objectives)
        direction = objectives.taken()
        if self.mask is not None:
            direction.mask(self.mask.tensors)
        known = step.length if self.mask is None else None
        length, loss = direction.norm() if known is None else known, float(step.losses[RETAIN])
        objectives.clear()
        if not (math.isfinite(length) and math.isfinite(loss)):
            self._undo(objectives, before)
            return Record(number, step, 0.0, False, radius=radius, note="non-finite loss or direction")
        self._note(loss)
        if step.stop is None and radius < SMALLEST * size:
            step = replace(step, stop="hard: no step, however small, keeps the retain loss within its budget")
        if step.stop is not None:
            before.restore(objectives.parameters)
            objectives.discard()
            return Record(number, step, 0.0, False, radius=radius, note=step.stop)
        # 2. The length: the radius, less where the Gramian already says that it costs too much.
        lr = step.lr if step.lr is not None else radius / length if length else 0.0
        predicted: list[float] | None = None if step.predicted is None else step.predicted.tolist()
        if predicted is not None and predicted[RETAIN] > 0:
            lr = min(lr, SHARE * self.tolerated / predicted[RETAIN])
        direction.move(-lr)
        # 3. The step, and what it did: halved, weights half the way back, until the retain loss rose by no more than
        #    its allowance; undone if four halvings were not enough.
        both = not self.repairing and (rule.needs_contract or (self.seen - 1) % EVERY == 0)
        for halving in range(HALVINGS + 1):
            losses = self._look(objectives, step, whole=halving == HALVINGS, both=both)
            realised = losses - step.losses
            rise = float(realised[RETAIN])
            finite = bool(losses[FORGET if both else RETAIN :].isfinite().all())
            if finite and rise <= SHARE * self.tolerated:
                break
            before.halfway(objectives.parameters)
            lr, self.radius = lr / 2, self.radius * SHRINK
        else:
            self._undo(objectives, before)
            why = f"the retain loss rose by {rise:.3g}" if finite else "a loss was not finite"
            return Record(number, step, 0.0, False, realised, radius, f"undone: {why}")
        if rise < SHARE * self.tolerated / 2 and self.radius == radius and not (restoring or self.repairing):
            held = predicted is None or rise - lr * predicted[RETAIN] <= EXCESS * lr * sum(map(abs, predicted))
            self.radius = min(radius * (GROW if held else SLOWER), largest, self.cap)
        if restoring:
            self.restorations += 1
            return Record(number, step, lr, True, realised, radius, "restoration")
        objectives.lr = lr
        rule.observe(objectives)
        return Record(number, step, lr, True, realised, radius)

    def shrink(self, factor: float, reach: float | None = None) -> None:
        """A smaller budget, and a smaller radius, which does not grow back beyond that part of `reach`.

        `reach` is the longest radius that led too far; None is the present one.
        """
        self.left *= factor
        reach = self.radius if reach is None else reach
        if reach is not None:
            self.cap = min(self.cap, factor * reach)
        if self.radius is not None:
            self.radius = min(factor * self.radius, self.cap)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs, as plain numbers."""
        names = ("size", "radius", "cap", "left", "origin", "level", "seen", "restorations")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)

    def _look(self, objectives: Objectives, step: Step, whole: bool, both: bool) -> Tensor:
        """The retain loss, and of `both` the forget loss of a step that the retain side lets stand, or if `whole`."""
        kept = objectives.loss(RETAIN)
        if both and (whole or float(kept - step.losses[RETAIN]) <= SHARE * self.tolerated):
            return torch.stack([objectives.loss(FORGET), kept])
        return torch.stack([torch.full_like(kept, math.nan), kept])

    def _restoration(self, objectives: Objectives) -> Step:
        losses, gram = objectives.products("model")
        (ff, fr), (_, rr) = gram[0]
        apart = fr < 0 and ff * rr - fr * fr >= OPPOSED * ff * rr
        weights = torch.stack([-fr / ff if apart else torch.zeros_like(fr), torch.ones_like(fr)])[None]
        objectives.combine(weights)
        return Step(losses, weights, gram)

    def _note(self, loss: float) -> None:
        self.seen += 1
        self.level = loss if self.level is None else MEMORY * self.level + (1 - MEMORY) * loss
        if self.seen <= ORIGIN:
            self.origin = (self.origin or 0.0) + (loss - (self.origin or 0.0)) / self.seen

    def _undo(self, objectives: Objectives, before: Shelf) -> None:
        before.restore(objectives.parameters)
        objectives.discard()
        self.radius = (self.radius or 0.0) * SHRINK
