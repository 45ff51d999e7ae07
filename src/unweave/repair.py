"""The second phase of a run: what forgetting cost the retain side is paid back, and it stays forgotten."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from unweave.arguments import callable_with, check_fields, kind, wrong
from unweave.averages import Averages, Of
from unweave.contract import Keeper
from unweave.contract.keeper import HALF, ONLY, SHRINK
from unweave.contract.reading import MET
from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError
from unweave.gramian import combine, gramian
from unweave.loop import Stepper, Stop
from unweave.objectives import Objectives
from unweave.parameters import Mask
from unweave.places import Place, Shelf
from unweave.results import Record
from unweave.rules import HAMU
from unweave.rules._base import FORGET, RETAIN, Asked, Rule, Step
from unweave.trust import MEMORY, ORIGIN, REPAIR, TrustRegion, tolerance

# Shares of the level's highest rise at a look, of which a trust region's default budget counts at most: what may be
# left of it where all is called paid back, and what a look must find less for a gain.
BACK, GAIN = 0.05, 0.01
# The quota of a repair step, as a share of what is feasible: at the first look that finds it lost, of the last at every
# further one, at most; of the last at every look that finds it forgotten again, and below which it is 0.
LOST, RISE, MOST, FADE, LEAST = 0.05, 2.0, 0.4, 0.5, 0.01
DEBT = 10.0  # budgets that a push may run up where no contract counts them: what the repair pays later
GONE = 5  # looks in a row that find it lost, after which the rule pushes again
Phase = Literal["push", "repair", "lost"]
PAID, STALLED = "paid back", "paid back as far as it goes"


@dataclass
class RepairRule(Rule):
    """HAMU at a small quota on the forget side, exact in the averaged gradients, block by block.

    At quota 0 `D = m_r` where `<m_f, m_r> >= 0`, else its part orthogonal to `m_f` at the length of `m_r`: to first
    order nothing of the *averaged* forget loss is undone. It is no promise about one batch.

    Args:
        averages: of the gradients, to which the pair of the step is added.
        quota: the improvement of the averaged forget loss that a step owes, as a share of the largest feasible one.
    """

    averages: Averages
    quota: float = 0.0
    _rule: HAMU = field(init=False)

    def __post_init__(self) -> None:
        self._rule = HAMU("forget", ratio=self.quota, infeasible="clip")

    def backward(self, objectives: Asked) -> Step:
        """Writes the direction; the losses are those of the pair."""
        if objectives.memory != "fast":
            return self._streamed(objectives)
        losses, gradients = objectives.gradients()
        factors = self.averages.over(gradients)
        index = objectives.block_index(self._rule.blocks)
        found = gramian(gradients, index, objectives.packs)
        if bool(found.isfinite().all()):
            self.averages.keep(gradients)
        else:  # of this pair or of one before: the step is refused, and the next begins them anew
            self.averages.forget()
        gram = factors[:, None] * found * factors
        weights, branches, _ = self._rule.decide(gram)
        objectives.write(combine(gradients, weights * factors, found, index, objectives.packs))
        return Step(losses, weights, gram, branches)

    def _streamed(self, objectives: Asked) -> Step:
        """The same, both gradients told tensor by tensor to the averages, and these combined tensor by tensor."""
        if self.averages.of not in ("both", "lean"):
            raise ConfigurationError(
                f"averages={self.averages.of!r} takes gradients of the step itself, which memory={objectives.memory!r} "
                "does not keep: use averages='both' or 'lean', or memory='fast'."
            )
        losses = list[Tensor]()
        for side in (FORGET, RETAIN):
            self.averages.begin(side, objectives.parameters)
            losses.append(objectives.streamed(side, partial(self.averages.more, side)))
        index = objectives.block_index(self._rule.blocks)
        gram = self.averages.gramian(index, objectives.parameters)
        weights, branches, _ = self._rule.decide(gram)
        objectives.leave(self.averages.along(objectives.parameters, weights, gram, index))
        return Step(torch.stack(losses), weights, gram, branches)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the averages are `Repair`'s."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


@dataclass
class Repair:
    """Push until it is forgotten, then repair until the retain side is back; win back what is lost on the way.

    *push*: the rule's own step, until every forget clause of the contract holds, or `met` does.
    *repair*: steps of `RepairRule` at quota 0 in a trust region of at most 0.0025 |theta|.
    A look that finds it forgotten after one that did not goes back to where it just was: on the straight line between
    the two, halved twice, to the nearest point at which it is. A repair undoes no push too far.
    *lost*: after a look that finds it forgotten no longer, the same steps at a quota of 0.05, doubled at every further
    such look; the fifth in a row goes back to the push. A look that finds it forgotten again halves the quota, below
    0.01 to 0.

    It ends when a twentieth is left of the level's highest rise, of which a trust region's default budget counts at
    most, and no keep clause uses more than half of its own ("paid back"); when `patience` looks in a row at quota 0
    brought the level down by less than a hundredth of that rise, and the budget not at all; or with the steps. Where
    `met` says when it is forgotten, a trust region makes no restorations before the retain loss is `DEBT` budgets up:
    what they would pay at once the repair pays later. Under a contract they keep the run within its limits. A push that
    `met` has not ended before the last `share` of the steps leaves them to the repair, at quota 0.

    The level is the retain loss on `sample`, which begins where the original stands. The state that is left is, under a
    contract, the one that uses least of the budget among those that meet everything, and of equals the one of the
    lowest level (the keeper's); without one, that of the lowest level at which `met` held.

    Args:
        met: without a contract: a `Stop`, which gives a reason while it is forgotten. At a reason after none it is
            asked again with the same record, on weights in between.
        steps: of the run, where there is no contract.
        share: of those steps that repair, the last, where `met` has not held before, or there is none.
        every: steps between two looks, where no contract says.
        averages: whose gradients are averaged (`Averages`).
        beta: of the averages.
        patience: looks without a gain.
        mask: elements that a repair may move, where the stepper is no trust region with one of its own.
        sample: a pair whose retain loss is the level, always the same: what a step did shows through the noise of
            the batches. None: the running mean of the steps' own retain losses, from the mean of the first three.
        place: where the best state, the last that was not forgotten, and the averages lie.

    Attributes:
        nats: whether the retain loss is in nats.
        phase: of the next step.
        lost: how often a repair lost what was forgotten.
        quota: of the next repair step.

    Reference: ours. A one-shot method's single step is the push.
    """

    met: Stop | None = None
    steps: int | None = None
    share: float = 0.3
    every: int = 5
    averages: Of = "both"
    beta: float = 0.9
    patience: int = 8
    mask: Mask | None = field(default=None, repr=False)
    sample: Pair | None = field(default=None, repr=False)
    place: Place = "device"
    nats: bool = field(default=True, init=False)
    phase: Phase = field(default="push", init=False)
    lost: int = field(default=0, init=False)
    quota: float = field(default=0.0, init=False)
    _gone: int = field(default=0, init=False)
    _level: float | None = field(default=None, init=False)
    _origin: float = field(default=0.0, init=False)
    _seen: int = field(default=0, init=False)
    _highest: float = field(default=-math.inf, init=False)
    _lowest: float = field(default=math.inf, init=False)
    _least: float = field(default=math.inf, init=False)
    _stalled: int = field(default=0, init=False)
    _radius: float | None = field(default=None, init=False)
    _once: bool = field(default=False, init=False)
    _pushed: bool = field(default=True, init=False)
    _found: bool = field(default=False, init=False)
    _best: Shelf | None = field(default=None, init=False, repr=False)
    _missed: Shelf | None = field(default=None, init=False, repr=False)
    _averages: Averages = field(init=False, repr=False)
    _region: TrustRegion = field(init=False, repr=False)
    _objectives: Objectives | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_fields(
            self,
            met=lambda name, f: "" if f is None or callable_with(f, 1) else wrong(name, "a function of a Record", f),
            mask=kind("a parameters.Mask or None", Mask, None),
            sample=kind("a data.pairs.Pair or None", Pair, None),
            **{"steps": "[0, inf)", "share": "(0, 1)", "every": "[1, inf)", "beta": "[0, 1)", "patience": "[1, inf)"},
        )
        self._averages = Averages(self.beta, self.averages, self.place)
        self._region = TrustRegion(start=REPAIR)
        self._region.place = self.place

    def take(self, number: int, rule: Rule, stepper: Stepper, objectives: Objectives) -> Record:
        """One step of the phase that the run is in."""
        self._objectives = objectives
        if self.met is not None and self._missed is None:
            self._missed = Shelf(self.place)
            self._missed.take(objectives.parameters)
        if self.sample is not None and self._seen == 0:
            self._seen, self._origin = 1, objectives.loss_at(RETAIN, self.sample)
        if self._late(number) and self.phase == "push":
            self.phase = "repair"
        region = stepper if isinstance(stepper, TrustRegion) else self._region
        self._region.mask, self._region.nats = self.mask, self.nats
        pushes = self.phase == "push"
        if pushes != self._pushed:  # each has a radius of its own, the repair at first the longest
            longest = REPAIR * (region.size or 0.0) or None
            self._radius, region.radius = region.radius, longest if self._radius is None else self._radius
        self._pushed, region.repairing = pushes, not pushes
        region.debt = 1.0 if self.met is None else DEBT
        objectives.heard = self._averages if pushes else None
        if region.repairing:
            record = region.take(number, RepairRule(self._averages, self.quota), objectives)
        else:
            record = stepper.take(number, rule, objectives)
        if self.sample is None:
            self._note(float(record.step.losses[RETAIN]))
        return replace(record, phase=self.phase)

    def look(self, record: Record, objectives: Objectives, contract: Keeper | None, ended: str | None) -> str | None:
        """After a step: which phase comes next, or why the run ends; `ended` is what would have ended it."""
        if ended is not None and ended.endswith(ONLY):
            self._once, self.phase, ended = True, "repair", None
        if ended not in (None, MET):
            return ended
        if contract is not None:
            return self._under(contract, ended)
        if self.met is None or record.number % self.every:
            return None
        met, missed = self.met, self._missed
        assert missed is not None, "`take` comes first"
        found, before = bool(met(record)), self._found
        self._found = found
        if found and not before:
            missed.back(objectives.parameters, lambda: bool(met(record)))
        elif not found:
            missed.take(objectives.parameters)
            if self._late(record.number):
                return None
        level = self.level()
        if found and level < self._lowest:
            self._best = self._best or Shelf(self.place)
            self._best.take(objectives.parameters)
        return self._next(found, level, 0.0, HALF)

    def finish(self, objectives: Objectives) -> None:
        """Puts the best state back, where no contract does."""
        if self._best is not None:
            self._best.restore(objectives.parameters)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        numbers = {name: getattr(self, name) for name in _STATE}
        shelves = {name: [] if shelf is None else list(shelf.tensors) for name, shelf in self._shelves.items()}
        return {**numbers, **shelves, "averages": self._averages.state_dict(), "region": self._region.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        for name in _STATE:
            setattr(self, name, state[name])
        for name in filter(state.__getitem__, self._shelves):
            shelf = Shelf(self.place)
            shelf.take(state[name])
            setattr(self, f"_{name}", shelf)
        self._averages.load_state_dict(state["averages"])
        self._region.load_state_dict(state["region"])

    @property
    def _shelves(self) -> dict[str, Shelf | None]:
        return {"best": self._best, "missed": self._missed}

    def _under(self, contract: Keeper, ended: str | None) -> str | None:
        """What the keeper's last reading means for the phase; it has gone back already from a state that broke."""
        if (look := contract.last) is None:
            return None
        if look.rolled_back or not look.kept:
            if self.phase != "push":  # the keeper has shortened the stepper's steps; its own are the repair's affair
                self._region.shrink(SHRINK)
            self._stalled += self._lowest < math.inf
            return MET if contract.reached and self._stalled >= self.patience else None
        found = look.kept and look.forgotten == 1.0
        ended = self._next(found, self.level(), look.used, max(contract.start, HALF))
        return MET if ended is not None and contract.reached else None

    def _late(self, number: int) -> bool:
        """Whether this is one of the last steps, which repair, of a run that has not forgotten."""
        return self.steps is not None and number > (1 - self.share) * self.steps and self._lowest == math.inf

    def level(self) -> float:
        """The retain loss on the sample where the weights are now, or its running mean where there is none."""
        if self.sample is None or self._objectives is None:
            return math.inf if self._level is None else self._level
        return self._objectives.loss_at(RETAIN, self.sample)

    def _next(self, found: bool, level: float, used: float, enough: float) -> str | None:
        self._highest = max(self._highest, level) if math.isfinite(level) else self._highest
        if not found:
            if self.phase == "push":
                self._stalled += self._lowest < math.inf
            else:
                self.lost += self.phase == "repair"
                self.quota, self._gone = min(max(RISE * self.quota, LOST), MOST), self._gone + 1
                self.phase = "push" if self._gone >= GONE and not self._once else "lost"
        else:
            rise = min(max(self._highest - self._origin, 0.0), tolerance(self._origin, self.nats))
            gained = level < self._lowest - GAIN * rise or used < self._least
            self._stalled = 0 if gained else self._stalled + (self.quota == 0.0)
            self.phase, self._gone = "repair", 0
            self.quota = FADE * self.quota if FADE * self.quota >= LEAST else 0.0
            self._lowest, self._least = min(self._lowest, level), min(self._least, used)
            if level <= self._origin + BACK * rise and used <= enough:
                return PAID
        return STALLED if self._stalled >= self.patience else None

    def _note(self, loss: float) -> None:
        if not math.isfinite(loss):
            return
        self._seen += 1
        self._level = loss if self._level is None else MEMORY * self._level + (1 - MEMORY) * loss
        if self._seen <= ORIGIN:
            self._origin += (loss - self._origin) / self._seen


Asking = bool | Literal["auto", "lean"]


def wanted(asked: Asking, *, contract: bool, trust: bool) -> bool:
    """Whether a run has the second phase: as asked; "auto" is under a contract, in a trust region."""
    return contract and trust if asked == "auto" else bool(asked)


_STATE = (
    *("phase", "lost", "quota", "_gone", "_level", "_origin", "_seen"),
    *("_highest", "_lowest", "_least", "_stalled", "_radius", "_once", "_pushed", "_found"),
)
