"""The one assembly: two data sets, a contract, guards, a mask and a step become a loop that runs.

The one call, the runner (and so sequences and the ledger), evidence and the demos all come through here: a guard, a
check or a hook that is added here is there for all of them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader

from unweave.averages import Of
from unweave.callbacks import Callback
from unweave.contract import Contract, Keeper, Sets
from unweave.contract.sets import SAMPLE, divide, halves, hold_out
from unweave.data.batches import Batch, divided, moved
from unweave.data.pairs import Pairs, fetched
from unweave.data.protocol import indexed
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.execution import device_of, rank, seeded, world
from unweave.footprint import AskedMemory, AskedPlace, settled
from unweave.gramian import Memory
from unweave.guards import FirstStep, check_single_example
from unweave.loop import Stepper, Stop, asked
from unweave.loop import unlearn as loop
from unweave.losses import END, Ascent, Relearned, Until, unseen_level
from unweave.methods import Method
from unweave.modules import bare, evaluating, joined, mode
from unweave.objectives import Loss
from unweave.oneshot import Once, OneShot
from unweave.parameters import Mask, choose, saliency_mask
from unweave.places import Place
from unweave.precision import masters, narrow, runs
from unweave.repair import Asking, Repair, wanted
from unweave.results import Progress, Record, Result
from unweave.samples import Data, labels, read, subset
from unweave.sharded import is_sharded
from unweave.tasks import NATS, Known, Task
from unweave.trust import TrustRegion

if TYPE_CHECKING:
    from accelerate import Accelerator

Step = torch.optim.Optimizer | Stepper
BEYOND = 2.0  # times the forget loss that a clause asks for: an end below it could keep the run from it


@dataclass(frozen=True)
class Settings:
    """How the examples are drawn, and in which state of the model.

    Attributes:
        forget_batch, retain_batch: examples per step, over all ranks.
        micro: micro-batches that each of them is divided into.
        seed: of the order of the data and of every forward's randomness.
        train_mode: run dropout and BatchNorm in training mode.
        parameters: name patterns of what may move; None is what `requires_grad` says.
        until: where the forget loss ends for each example (`losses.Until`): a level of its nll, "unseen" for the median
            of the holdout under the original, or None for no end. "auto": plain ascent in nats ends at `losses.END`,
            or at twice what a clause asks of the forget loss; not where a clause compares with unseen examples.
        memory: gradients that are kept of a rule that compares them: "fast" both, "lean" one, "least" none
            (`streaming`); "auto" is the first of these that there is room for.
        place: where the states to go back to, and a repair's averages, lie: on the "device", in the "host"'s memory or
            on "disk" (`places`); "auto" is the device, or with less than "fast" on an accelerator the host.
        relearner: steps at most of a relearner on forget examples, where the forget loss of others is then read
            (`losses.Relearned`); 0: it is read at the weights themselves.
    """

    forget_batch: int = 64
    retain_batch: int = 256
    micro: int = 1
    seed: int = 0
    train_mode: bool = False
    parameters: str | Sequence[str] | None = None
    until: float | Literal["auto", "unseen"] | None = "auto"
    relearner: int = 0
    memory: AskedMemory = "auto"
    place: AskedPlace = "auto"


@dataclass(eq=False)
class Unlearning:
    """One unlearning, from its parts to its end. `assembled` makes it, `make` completes it, `run` runs it.

    Attributes:
        model: what moves.
        task: what it does.
        forget, retain: the two sides; of the retain set what is left to train on.
        settings: batches, seed, mode, what may move.
        pairs: the stream of examples.
        keeper: of the contract, if there is one.
        probe: retain examples that no step trains on, in micro-batches, where the rule asks for them.
        accelerator: of passes in another precision, or over ranks.
        holdout: examples that the original never saw, where there are some.
        memory, place: as settled; set by `make`.
        method, mask, step: losses and rule, what may move of each tensor, how far; set by `make`.
        first: the guard of the first step; set by `run`.
    """

    model: nn.Module
    task: Task
    forget: Data
    retain: Data
    settings: Settings
    pairs: Pairs
    keeper: Keeper | None = None
    probe: Sequence[Batch] = ()
    accelerator: Accelerator | None = None
    holdout: Data | None = None
    method: Method = field(init=False)
    mask: Mask | None = field(init=False, default=None)
    step: Step = field(init=False)
    memory: Memory = field(init=False, default="fast")
    place: Place = field(init=False, default="device")
    first: FirstStep = field(init=False)

    @property
    def nats(self) -> bool:
        """Whether the task's loss is in nats."""
        return Known(self.task).unit == NATS

    @contextmanager
    def ready(self, *, whole: bool = False) -> Iterator[None]:
        """The model as a step finds it; modes, `requires_grad` and storage are afterwards as they were.

        With `make` and `run` both inside, `whole`, weights in half precision have masters, which a step that is made of
        them would otherwise outlive.

        Raises:
            ConfigurationError: the patterns name no parameter, or nothing may move.
        """
        with ExitStack() as stack:
            stack.enter_context(choose(self.model, self.settings.parameters))
            stack.enter_context(joined(self.model))
            if whole and narrow(self.model) and runs(self.model, self._pass):
                stack.enter_context(masters(self.model))
            stack.enter_context(mode(self.model, self.settings.train_mode))
            yield

    def _pass(self) -> None:
        """One over the first forget examples; none over a stream, which may have them once."""
        if indexed(self.forget.dataset if isinstance(self.forget, DataLoader) else self.forget):
            with seeded(self.settings.seed), evaluating(bare(self.model)):
                self.task.nll(bare(self.model), next(read(self.forget, 2, device_of(self.model))))

    def make(
        self, method: Method | OneShot, step: Callable[[nn.Module, Mask | None], Step], *, check: bool = True
    ) -> None:
        """Method, mask and step; inside `ready`.

        Args:
            method: losses and rule, whose state stays as it is; or a method without steps.
            step: makes the optimizer or the trust region of the model and the mask.
            check: whether a step will be taken: then a batch that is too small for a layer is refused.

        Raises:
            ConfigurationError: the data do not fit the method, a batch is too small for a layer, or the forget loss is
                to end and there is none, or where unseen examples stand and there are none, or it is to be read at a
                relearner's weights and there is none.
        """
        if check:
            relearned = self.settings.relearner > 0
            check_single_example(self.model, self.task, self.forget, self.retain, self.pairs, halved=relearned)
        row = method.read(self.task) if isinstance(method, OneShot) else method
        self.method = replace(row, rule=copy.deepcopy(row.rule))
        if (level := self._level(row.forget)) is not None and row.forget is not None:
            self.method = replace(self.method, forget=Until(row.forget, self.task, level))
        self.method = replace(self.method, forget=self._relearned(self.method.forget))
        if row.saliency is not None:
            batches = read(self.forget, self.settings.forget_batch, device_of(self.model))
            with seeded(self.settings.seed):
                self.mask = saliency_mask(self.model, self.task.nll, batches, row.saliency)
        if isinstance(method, OneShot):
            if is_sharded(self.model):
                raise UnsupportedError(
                    f"{method.name} takes no steps: it changes whole weights, and these are sharded. Unshard them (in "
                    "a recipe run.shard: false)."
                )
            self.step = method.step(self.task, self.forget, self.retain)
        else:
            self.step = step(self.model, self.mask)
        if not isinstance(self.step, Once):
            masked, judged, asked = self.mask is not None, self.keeper is not None, self.settings
            found = settled(self.model, self.method.rule, self.step, masked, judged, asked.memory, asked.place)
            self.memory, self.place = found
        if isinstance(self.step, TrustRegion):
            self.step.nats, self.step.place = self.nats, self.place
        if self.keeper is not None:
            self.keeper.keep_at(self.place)

    def _level(self, loss: Loss | None) -> float | None:
        """Where the forget loss ends for each example, by `settings.until`; while the model is the original."""
        if loss is None and self.settings.until not in ("auto", None):
            raise ConfigurationError(
                f"until: {self.settings.until!r} ends the forget loss of each example, and this method has none: leave "
                "it out, or choose a method with a forget side."
            )
        if self.settings.until == "auto":
            if not isinstance(loss, Ascent) or not self.nats:
                return None
            asked = () if self.keeper is None else self.keeper.contract.forgets(whole_class=False)
            if any(clause.metric == "unseen" for clause in asked):
                return None  # what it compares with moves along: no level is far enough
            return max([END, *(BEYOND * clause.level for clause in asked if clause.metric == "loss")])
        if self.settings.until == "unseen":
            return unseen_level(self.model, self.task, self._unseen())
        return self.settings.until

    def _relearned(self, loss: Loss | None) -> Loss | None:
        """The forget loss with its end, where a relearner takes the model, by `settings.relearner`."""
        if not self.settings.relearner:
            return loss
        if loss is None:
            raise ConfigurationError(
                "relearner: reads the forget loss where a relearner leads, and this method has none: leave it out, or "
                "choose a method with a forget side."
            )
        if world() > 1:
            raise UnsupportedError(
                "relearner: it runs in one process, not on several ranks: leave it out, or start one."
            )
        if self.pairs.smallest["forget"] == 1:
            raise ConfigurationError(
                "relearner: reads the loss of one half of a forget batch where the other half leads, and the smallest "
                "has one example: give two forget examples at least, raise forget_batch, lower micro, or set "
                "drop_last=True in a loader."
            )
        return Relearned(loss, self.task, self.settings.relearner)

    def _unseen(self) -> Iterator[Batch]:
        """The holdout, or of the half of it that steers the run as many as a look at it reads."""
        if self.holdout is None:
            raise ConfigurationError(
                "until: 'unseen' is the level of examples that the model was never trained on, and there are none: "
                "pass holdout=... (in a recipe of texts data.holdout), or a level in the unit of the task's loss."
            )
        rows = halves(self.holdout, self.settings.seed)[0]
        if rows is None:
            return read(self.holdout, self.settings.retain_batch, device_of(self.model))
        steers = subset(self.holdout, rows[:: math.ceil(len(rows) / SAMPLE)])  # type: ignore[arg-type]
        return read(steers, self.settings.retain_batch, device_of(self.model))

    def phases(self, repair: Asking, steps: int, stop: Sequence[Stop] = ()) -> tuple[Repair | None, Sequence[Stop]]:
        """The second phase (`repair.wanted`), and what still ends the run; after `make`.

        A contract says when it is forgotten; without one the stops do, and no longer end the run; without either the
        last of the `steps` repair.

        Raises:
            ConfigurationError: a method without steps, and none repairs it, is to end its forget loss or to read it at
                a relearner's weights.
        """
        judged = self.keeper is not None
        if not wanted(repair, contract=judged, trust=isinstance(self.step, TrustRegion)):
            if isinstance(self.step, Once) and (self.settings.until not in ("auto", None) or self.settings.relearner):
                raise ConfigurationError(
                    "until, relearner: this method takes no steps along a forget loss, and none repairs it: leave them "
                    "out, or pass repair=True."
                )
            return None, stop
        averages: Of = "lean" if repair == "lean" else "both"
        if judged or not stop:
            return Repair(steps=None if judged else steps, averages=averages, place=self.place), stop

        def met(record: Record) -> str | None:
            return next(filter(None, (asked(each, record) for each in stop)), None)

        return Repair(met, steps, averages=averages, place=self.place), ()

    def run(
        self,
        steps: int,
        *,
        callbacks: Sequence[Callback] = (),
        stop: Sequence[Stop] = (),
        progress: Progress | None = None,
        certain: bool = False,
        warnings: list[str] | None = None,
        repair: Repair | None = None,
    ) -> Result:
        """The loop; inside `ready`.

        Args:
            steps: at most so many more.
            callbacks, stop, progress: as of `loop.unlearn`.
            certain: the original's loss is exactly 0 on every forget example that was looked at.
            repair: the second phase, if there is one.
            warnings: where the guards add what they find; else in the result's.
        """
        told: list[str] = [] if warnings is None else warnings
        if repair is not None:
            repair.sample, repair.mask, repair.nats = repair.sample or self.pairs.sample(), self.mask, self.nats
            if self.keeper is not None:
                self.keeper.cost = repair.level
        begun = progress is not None and progress.made > progress.skipped + progress.rejected
        self.first = FirstStep(self.model, self.mask, certain=certain, begun=begun, warnings=told)
        return loop(
            self.model,
            self.method,
            self.pairs,
            self.step,
            accelerator=self.accelerator,
            callbacks=(self.first, *callbacks),
            stop=stop,
            steps=steps,
            probe=self.probe,
            mask=self.mask,
            progress=progress,
            contract=self.keeper,
            repair=repair,
            memory=self.memory,
        )


def assembled(
    model: nn.Module,
    task: Task,
    forget: Data,
    retain: Data,
    settings: Settings,
    *,
    keeper: Keeper | None = None,
    probe: Sequence[Batch] = (),
    accelerator: Accelerator | None = None,
    holdout: Data | None = None,
) -> Unlearning:
    """The parts that need no method yet; arguments as the attributes of `Unlearning`."""
    pairs = Pairs(
        forget,
        retain,
        forget_batch=settings.forget_batch,
        retain_batch=settings.retain_batch,
        micro=settings.micro,
        seed=settings.seed,
        rank=rank(),
        world=world(),
        device=device_of(model),
    )
    return Unlearning(model, task, forget, retain, settings, pairs, keeper, probe, accelerator, holdout)


def kept(
    contract: Contract | None,
    task: Task,
    forget: Data,
    retain: Data,
    settings: Settings,
    given: Mapping[str, Any],
    *,
    retrained: nn.Module | None = None,
    first: Callable[[], nn.Module] | None = None,
    final: bool = True,
) -> tuple[Data, Keeper | None]:
    """What is left of the retain set to train on, and the keeper of the contract; all of it and None without one.

    Args:
        contract, task, forget, retain: of the call or the recipe.
        settings: batches and seed.
        given: "holdout", "guard" and "final", where they were.
        retrained, first, final: as of `Keeper`.

    Raises:
        ConfigurationError: a set or a model that a clause needs is missing; all of them at once.
    """
    if contract is None:
        return retain, None
    left, sets = held_out(contract, task, forget, retain, given, settings.seed)
    each = 0
    for data, size in ((forget, settings.forget_batch), (retain, settings.retain_batch)):
        each += (data.batch_size if isinstance(data, DataLoader) else None) or size
    return left, Keeper(
        contract, task, sets, per_step=each, retrained=retrained, first=first, final=final, seed=settings.seed
    )


def held_out(
    contract: Contract, task: Task, forget: Data, retain: Data, given: Mapping[str, Any], seed: int
) -> tuple[Data, Sets]:
    """What is left of the retain set to train on, and all sets that the contract reads."""
    known = Known(task)
    return hold_out(contract, contract.keeps(known.utility), retain, forget=forget, **given, seed=seed, task=known)


def probed(retain: Data, settings: Settings, device: torch.device) -> tuple[Data, tuple[Batch, ...]]:
    """What is left of a retain set to train on, and a batch of the others, a tenth of the set at most."""
    total = len(retain)  # type: ignore[arg-type]
    size = max(1, min(settings.retain_batch, total // 10))
    train, rows, _ = divide(total, labels(retain), size, 0, settings.seed)
    with torch.random.fork_rng(devices=[]):
        batch = moved(fetched(retain, torch.from_numpy(rows)), device)  # type: ignore[arg-type]
    parts = tuple(divided(batch, min(settings.micro, size)))
    return subset(retain, train), parts  # type: ignore[arg-type]
