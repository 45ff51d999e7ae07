"""The only training loop. It does not know which rule it runs, nor how the length of a step is found."""

from __future__ import annotations

import copy
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from unweave.callbacks import Callback, Told
from unweave.contract import Keeper
from unweave.data.draws import kept_streams
from unweave.data.pairs import Batch, Pair
from unweave.errors import ConfigurationError, noted, shown, told
from unweave.objectives import Objectives
from unweave.parameters import Mask
from unweave.results import Progress, Record, Result
from unweave.rules._base import Rule
from unweave.streaming import Memory

if TYPE_CHECKING:
    from accelerate import Accelerator

    from unweave.methods import Method

LOG = logging.getLogger("unweave")
_GIVE_UP = 5  # non-finite steps in a row


class Stepper(Protocol):
    """How far to go along a rule's direction."""

    def take(self, number: int, rule: Rule, objectives: Objectives) -> Record:
        """Asks the rule for a direction, moves the weights or not, and says what happened."""
        ...

    def shrink(self, factor: float, reach: float | None = None) -> None:
        """Shorter steps from now on, by a factor; `reach` is the longest radius that led too far."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs, as plain values and tensors."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        ...


class Phases(Protocol):
    """Push and repair (`repair.Repair`)."""

    def take(self, number: int, rule: Rule, stepper: Stepper, objectives: Objectives) -> Record:
        """One step of the phase that the run is in."""
        ...

    def look(self, record: Record, objectives: Objectives, contract: Keeper | None, ended: str | None) -> str | None:
        """After a step: which phase comes next, or why the run ends; `ended` is what would have ended it."""
        ...

    def finish(self, objectives: Objectives) -> None:
        """Puts the best state back, where no contract does."""
        ...


Stop = Callable[[Record], str | None]


@dataclass
class OptimizerStep:
    """The papers' way: any `torch.optim` optimizer, a learning rate, optionally a schedule and clipping.

    Clipping acts on the direction, never on an ingredient of it.
    """

    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None
    clip: float | None = None
    mask: Mask | None = None

    @kept_streams()
    def take(self, number: int, rule: Rule, objectives: Objectives) -> Record:
        """One optimizer step along the rule's direction; a non-finite one is not taken."""
        objectives.radius = None
        objectives.lr = float(self.optimizer.param_groups[0]["lr"])
        step = rule.backward(objectives)
        direction = objectives.taken()
        if self.mask is not None:
            direction.mask(self.mask.tensors)
        known = step.length if self.mask is None else None
        length = direction.norm() if known is None else known
        if not (math.isfinite(length) and bool(step.losses.isfinite().all())):
            objectives.discard()
            return Record(number, step, 0.0, False, note="non-finite loss or direction")
        if step.stop:
            objectives.discard()
            return Record(number, step, 0.0, False, note=step.stop)
        direction.step(self.optimizer, self.clip / length if self.clip is not None and length > self.clip else 1.0)
        lr = objectives.lr * (min(1.0, self.clip / length) if self.clip is not None and length else 1.0)
        if self.scheduler is not None:
            self.scheduler.step()
        objectives.lr = lr
        objectives.clear()
        rule.observe(objectives)
        return Record(number, step, lr, True)

    def shrink(self, factor: float, reach: float | None = None) -> None:
        """Multiplies the learning rates, those of a schedule too; an optimizer has no radius to limit."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * factor
        if self.scheduler is not None:
            self.scheduler.base_lrs = [lr * factor for lr in self.scheduler.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """A copy of the optimizer's state, momentum included, and of the schedule's."""
        scheduler = None if self.scheduler is None else self.scheduler.state_dict()
        return copy.deepcopy({"optimizer": self.optimizer.state_dict(), "scheduler": scheduler})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        state = copy.deepcopy(dict(state))
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])


def unlearn(
    model: nn.Module,
    method: Method,
    pairs: Iterable[Pair],
    optimizer: torch.optim.Optimizer | Stepper,
    *,
    accelerator: Accelerator | None = None,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    clip: float | None = None,
    callbacks: Sequence[Callback] = (),
    stop: Sequence[Stop] = (),
    steps: int | None = None,
    probe: Sequence[Batch] = (),
    mask: Mask | None = None,
    progress: Progress | None = None,
    contract: Keeper | None = None,
    repair: Phases | None = None,
    memory: Memory = "fast",
) -> Result:
    """Unlearns in place, one pair after another.

    Args:
        model: moved in place; its mode (train or eval) is used as found.
        method: forget loss, retain loss and rule.
        pairs: one per step; the run ends with them.
        optimizer: any `torch.optim.Optimizer`, or a `trust.TrustRegion`.
        accelerator: the `accelerate.Accelerator` that prepared the model, if one did.
        scheduler, clip: for a torch optimizer; the clip is a norm of the direction.
        callbacks: told of every step, of every reading of the contract, and of the end.
        stop: called with every record; the first reason ends the run.
        steps: at most so many more.
        probe: retain micro-batches that no step trains on, for rules that ask for them.
        mask: elements of the direction that may be non-zero (saliency).
        progress: of the run that is resumed; counted on in place.
        contract: keeps the run within its limits; the model ends as the best state that kept them.
        repair: pays back what forgetting cost before the run ends.
        memory: gradients that are kept: "fast" both, "lean" one, "least" none (`streaming`).

    Returns:
        The model, the history and the reason for the end; also after a `KeyboardInterrupt`.
    """
    if method.rule.needs_probe and not probe:
        raise ConfigurationError("estimator 'probe' needs retain examples that no step trains on: pass probe=...")
    objectives = Objectives(model, (method.forget, method.retain), accelerator, probe, memory)
    stepper = (
        OptimizerStep(optimizer, scheduler, clip, mask) if isinstance(optimizer, torch.optim.Optimizer) else optimizer
    )
    result, begin = Result(model, progress=progress or Progress()), time.perf_counter()
    told = Told(callbacks)
    try:
        result.reason = _run(result, method.rule, pairs, stepper, objectives, told, stop, steps, contract, repair)
    except KeyboardInterrupt:
        result.reason = "interrupted"
    objectives.clear()
    if repair is not None and contract is None:
        repair.finish(objectives)
    if contract is not None:
        result.contract = contract.finish(model, result.reason)
        result.reason = result.contract.reason
    result.seconds = time.perf_counter() - begin
    if result.contract is not None:
        result.contract = result.contract.of(result.seconds)
    LOG.info("ended after %d steps, %.1f s: %s", result.progress.made, result.seconds, result.reason)
    with suppress(KeyboardInterrupt):  # the result is there already
        told.end(result)
    return result


def _run(
    result: Result,
    rule: Rule,
    pairs: Iterable[Pair],
    stepper: Stepper,
    objectives: Objectives,
    told: Told,
    stop: Sequence[Stop],
    steps: int | None,
    contract: Keeper | None,
    repair: Phases | None,
) -> str:
    progress = result.progress
    if contract is None and rule.needs_contract:
        raise ConfigurationError(
            "A hyperparameter of the rule is 'auto': it is derived from a contract, and there is none. Pass "
            "contract=..., or a number."
        )
    # The original is read once: limits follow from it, and it may be good enough already.
    if contract is not None and (reason := contract.begin(objectives.model, rule, stepper)):
        return reason
    for number, pair in enumerate(islice(pairs, None if steps is None else min(steps, sys.maxsize)), progress.made + 1):
        # The rule weighs the two gradients of this pair, the stepper moves the weights, or refuses to.
        at = objectives.at(pair)
        record = stepper.take(number, rule, at) if repair is None else repair.take(number, rule, stepper, at)
        if record.phase != (result.history[-1].phase if result.history else ""):
            LOG.info("step %d: %s", number, record.phase)
        result.history.append(record)
        progress.count(record)
        kept = reading = None
        # The contract reads its guard set when it is due: it may roll back, shorten the steps, or call it enough.
        if contract is not None:
            kept, reading = contract.read_if_due(record, objectives, rule, stepper), contract.last
            rule.steer(contract.remaining(record, None if steps is None else steps - len(result.history)))
        told.step(record, objectives)
        if reading is not None:
            LOG.info("step %d: the contract was read: %s", number, reading.text)
            told.reading(reading)
        # Why it may end, the strongest reason first: the contract, the rule, divergence, the caller's own criteria.
        ended = kept or record.step.stop
        if reason := ended if repair is None else repair.look(record, objectives, contract, ended):
            return reason
        if progress.failures == _GIVE_UP:
            moved = progress.made - progress.skipped - progress.rejected
            left = f"what {moved} earlier steps left, not the original" if moved else "the original"
            return (
                f"diverged: {_GIVE_UP} steps in a row had a non-finite loss or direction and moved nothing; the model "
                f"is {left}. Use a smaller learning rate or step='trust', and look for NaN in the data."
            )
        if reason := next(filter(None, (asked(criterion, record) for criterion in stop)), None):
            return reason
    return "pairs exhausted" if len(result.history) != steps else "steps used up"


def asked(criterion: Stop, record: Record) -> str:
    """Why a stopping criterion ends the run; one that gives no reason, but anything that is true, ends it too."""
    with noted(f"a stop, after step {record.number}"):
        reason = criterion(record)
    with told("a stop must return a text or None"):
        return reason if isinstance(reason, str) else f"a stop returned {shown(reason)}" if reason else ""
