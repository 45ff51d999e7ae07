"""The one call: a model and two data sets in, an unlearned model out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from unweave import stopping
from unweave.data.checks import check_overlap
from unweave.data.pairs import Pairs
from unweave.errors import ConfigurationError, suggest
from unweave.execution import rank, world
from unweave.loop import Monitor, Result, Stepper, Stop
from unweave.loop import unlearn as run
from unweave.methods import METHODS, Method
from unweave.parameters import Mask, choose, saliency_mask
from unweave.tasks import Task, Vision
from unweave.trust import TrustRegion

if TYPE_CHECKING:
    from accelerate import Accelerator

Data = Dataset[Any] | DataLoader[Any]
Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
TASKS: dict[str, Callable[[], Task]] = {"vision": Vision}


def unlearn(
    model: nn.Module,
    *,
    forget: Data,
    retain: Data,
    task: str | Task = "vision",
    method: str | Method = "hamu_q",
    step: Literal["trust"] | TrustRegion | Optimizer = "trust",
    until: float | Literal["unseen"] | None = None,
    holdout: Data | None = None,
    steps: int = 100,
    stop: Sequence[Stop] = (),
    monitors: Sequence[Monitor] = (),
    parameters: str | Sequence[str] | None = None,
    forget_batch: int = 64,
    retain_batch: int = 256,
    micro: int = 1,
    seed: int = 0,
    train_mode: bool = False,
    inplace: bool = False,
    accelerator: Accelerator | None = None,
) -> Result:
    """Bounds the influence of the forget set on a trained model, and keeps what it does on the retain set.

    The model is left as it was and an unlearned copy returned, unless `inplace`. Modes, `requires_grad`, hooks and the
    global random state are found again as they were.

    Args:
        model: a trained module.
        forget: examples whose influence is to go; a torch Dataset or DataLoader.
        retain: examples of what is to stay; they must not contain a forget example.
        task: what the model does: "vision" (a classifier over `(inputs, labels)`), or a `Task` of your own.
        method: a name of the catalogue (`unweave.METHODS`), or a `Method`.
        step: "trust", a `TrustRegion`, or a function from parameters to a torch optimizer.
        until: stop when the forget accuracy is at most this number; "unseen": when a membership attack cannot tell
            the forget set from `holdout`; None: after `steps`.
        holdout: examples that the model was never trained on; with "unseen" only.
        steps: at most so many.
        stop, monitors: called with every `Record`; the first reason that a `stop` returns ends the run.
        parameters: "all", or name patterns of what may move; None is what `requires_grad` says.
        forget_batch, retain_batch: examples per step, over all ranks.
        micro: micro-batches that each of them is divided into; the accumulation is exact.
        seed: of the order of the data and of every forward's randomness.
        train_mode: run dropout and BatchNorm in training mode; by default the model runs as it is evaluated.
        inplace: unlearn the model itself.
        accelerator: the `accelerate.Accelerator` that prepared the model; implies `inplace`.

    Returns:
        `Result` with the unlearned `model`, its `history` and the `reason` for the end.

    Raises:
        ConfigurationError: everything that is wrong with the arguments, before a weight moves.
    """
    task = _task(task)
    check_overlap(forget, retain)
    inplace = inplace or accelerator is not None
    unlearned = model if inplace else copy.deepcopy(model)
    made = METHODS[_known(method)](task, model) if isinstance(method, str) else method
    pairs = Pairs(
        forget,
        retain,
        forget_batch=forget_batch,
        retain_batch=retain_batch,
        micro=micro,
        seed=seed,
        rank=rank(),
        world=world(),
        device=next(model.parameters()).device,
    )
    criteria = [*stop, *_until(until, unlearned, task, forget, holdout)]
    with ExitStack() as stack:
        stack.enter_context(choose(unlearned, parameters))
        stack.enter_context(_mode(unlearned, train_mode))
        mask = None
        if made.saliency is not None:
            loader = forget if isinstance(forget, DataLoader) else DataLoader(forget, batch_size=forget_batch)
            mask = saliency_mask(unlearned, task.nll, loader, made.saliency)
        return run(
            unlearned,
            made,
            pairs,
            _stepper(step, unlearned, mask),
            accelerator=accelerator,
            monitors=monitors,
            stop=criteria,
            steps=steps,
            mask=mask,
        )


def _task(task: str | Task) -> Task:
    if not isinstance(task, str):
        return task
    if task not in TASKS:
        raise ConfigurationError(
            f"There is no task {task!r}.{suggest(task, TASKS)} Known: {', '.join(TASKS)}; "
            "or pass an object with nll and divergence."
        )
    return TASKS[task]()


def _known(method: str) -> str:
    if method not in METHODS:
        raise ConfigurationError(
            f"There is no method {method!r}.{suggest(method, METHODS)} Known: {', '.join(METHODS)}."
        )
    return method


def _until(
    until: float | str | None, model: nn.Module, task: Task, forget: Data, holdout: Data | None
) -> Iterator[Stop]:
    if until is None:
        return
    if not isinstance(task, Vision):
        raise ConfigurationError(
            "until reads a classifier's logits; for another task pass criteria of your own as stop=[...]."
        )
    if until != "unseen":
        if not isinstance(until, (int, float)):
            raise ConfigurationError(f"until must be an accuracy in [0, 1], 'unseen' or None; found {until!r}.")
        yield stopping.forget_accuracy(model, task, forget, float(until))
    elif holdout is None:
        raise ConfigurationError(
            "until='unseen' compares with examples the model was never trained on: pass holdout=..."
        )
    else:
        yield stopping.membership(model, task, forget, holdout)


def _stepper(
    step: Literal["trust"] | TrustRegion | Optimizer, model: nn.Module, mask: Mask | None
) -> torch.optim.Optimizer | Stepper:
    if isinstance(step, TrustRegion):
        return step
    if step == "trust":
        return TrustRegion(mask=mask)
    if not callable(step):
        raise ConfigurationError(
            f"step must be 'trust', a TrustRegion, or a function from parameters to an optimizer; found {step!r}. "
            "For example: step=lambda parameters: torch.optim.SGD(parameters, lr=0.01)."
        )
    return step([p for p in model.parameters() if p.requires_grad])


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    before = [(m, m.training) for m in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
