"""The one call: a model and two data sets in, an unlearned model out."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from unweave import arguments as takes
from unweave import modules
from unweave.arguments import SEEDS, Rule
from unweave.callbacks import Callback, Watched, listeners
from unweave.contract import Contract
from unweave.data.batches import Batch
from unweave.data.checks import check_apart, check_filled, check_overlap
from unweave.data.loaders import by_index, opened
from unweave.errors import ConfigurationError, gathered, of_set, shown, told
from unweave.execution import bare, device_of, rank, reshard, seeded
from unweave.guards import Guards, GuardWarning, LastLook, Seen, check
from unweave.leaves import Call
from unweave.loop import Stepper, Stop
from unweave.methods import Method, made
from unweave.modules import copied, evaluating
from unweave.oneshot import CATALOGUE, ONESHOT, OneShot
from unweave.parameters import Mask, patterns
from unweave.results import Result
from unweave.samples import Sample, read
from unweave.tasks import Classification, Dense, Language, MultiLabel, Regression, Task, guessed
from unweave.trust import TrustRegion
from unweave.unlearning import Settings, assembled, kept
from unweave.watch import watching

if TYPE_CHECKING:
    from accelerate import Accelerator

Data = Dataset[Any] | DataLoader[Any]
Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
FITTED: dict[str, Callable[[nn.Module, Sequence[Batch]], Task]] = {"auto": guessed, "regression": Regression.fitted}
PLAIN: dict[str, Callable[[], Task]] = {
    "classification": Classification,
    "multilabel": MultiLabel,
    "dense": Dense,
    "language": Language,
}
TASKS = {**FITTED, **PLAIN}
LOOKED = 500  # examples that a task is guessed from, and a scale estimated on
LOG = logging.getLogger("unweave")
STEP = "'trust', a TrustRegion, or a function from parameters to an optimizer"
SGD = " For example: step=lambda parameters: torch.optim.SGD(parameters, lr=0.01)."
MEASURED = ("holdout", "guard", "final", "retrained")  # what a contract reads, and nothing else


def _step(name: str, step: object) -> str:
    given = isinstance(step, TrustRegion) or (isinstance(step, str) and step == "trust") or takes.callable_with(step, 1)
    return "" if given and step is not TrustRegion else takes.wrong(name, STEP, step) + SGD


ARGUMENTS: dict[str, Rule] = {
    **{"model": takes.model, "retrained": takes.maybe(takes.model), "forget": takes.examples, "retain": takes.examples},
    **dict.fromkeys(("holdout", "guard", "final", "probe"), takes.maybe(takes.examples)),
    "task": takes.named(TASKS, f"{takes.DOES} (tasks.Diffusion, or your own: docs/your-own-task.md)", takes.task),
    "method": takes.named(CATALOGUE, "an unweave.Method", takes.kind("", Method, OneShot)),
    "step": _step,
    "contract": takes.kind("an unweave.Contract or None", Contract, None),
    "steps": takes.value(int, "[0, inf)"),
    "stop": takes.functions("of one Record", 1),
    "callbacks": listeners,
    "progress": takes.value(bool | Literal["auto"]),
    "parameters": patterns,
    **dict.fromkeys(("forget_batch", "retain_batch", "micro"), takes.natural),
    "seed": takes.value(int, SEEDS),
    **dict.fromkeys(("train_mode", "inplace"), takes.value(bool)),
    "repair": takes.value(bool | Literal["auto", "lean"]),
    "until": takes.value(float | Literal["auto", "unseen"] | None, "(0, inf)"),
    "relearner": takes.value(int, "[0, inf)"),
    "memory": takes.value(Literal["auto", "fast", "lean", "least"]),
    "place": takes.value(Literal["auto", "device", "host", "disk"]),
    "accelerator": takes.prepared,
    "guards": takes.kind("an unweave.Guards or None", Guards, None),
}
"""What the arguments of the call may be."""


def unlearn(
    model: nn.Module,
    *,
    forget: Data,
    retain: Data,
    task: str | Task = "auto",
    method: str | Method | OneShot = "hamu_q",
    step: Literal["trust"] | TrustRegion | Optimizer = "trust",
    contract: Contract | None = None,
    holdout: Data | None = None,
    guard: Data | None = None,
    final: Data | None = None,
    retrained: nn.Module | None = None,
    probe: Data | None = None,
    steps: int = 100,
    stop: Sequence[Stop] = (),
    callbacks: Sequence[Callback] = (),
    progress: bool | Literal["auto"] = "auto",
    parameters: str | Sequence[str] | None = None,
    forget_batch: int = 64,
    retain_batch: int = 256,
    micro: int = 1,
    seed: int = 0,
    train_mode: bool = False,
    inplace: bool = False,
    accelerator: Accelerator | None = None,
    guards: Guards | None = None,
    repair: bool | Literal["auto", "lean"] = "auto",
    until: float | Literal["auto", "unseen"] | None = "auto",
    relearner: int = 0,
    memory: Literal["auto", "fast", "lean", "least"] = "auto",
    place: Literal["auto", "device", "host", "disk"] = "auto",
) -> Result:
    """Bounds the influence of the forget set on a trained model, and keeps what it does on the retain set.

    The model is left as it was and an unlearned copy returned, unless `inplace`. Modes, `requires_grad`, hooks and the
    global random state are found again as they were.

    Args:
        model: a trained module.
        forget: examples whose influence is to go; a torch Dataset or DataLoader.
        retain: examples of what is to stay; they must not contain a forget example. A loader brings its batch size and
            its collate_fn, wherever it stands.
        task: what the model does: "classification", "multilabel", "regression" (its scale estimated on 500 examples of
            the `holdout`, or without one of the retain set), "dense" (segmentation, a class for each token), "language"
            (a causal language model), a task of `unweave.tasks` with settings, or one of your own
            (docs/your-own-task.md). "auto" looks at as many examples and at what the model makes of them
            (`tasks.guessed`); `Result.task` says what it took.
        method: a name of the catalogue (`unweave methods`), or a `Method`; its rule's state stays as it is. One without
            steps ("ssd", or an `oneshot.OneShot` with its settings) changes the weights once, on all of the data.
        step: "trust", a `TrustRegion` (its state stays as it is), or a function from parameters to a torch optimizer.
        contract: what may suffer by how much, and when forgetting is enough; None: no limit, the run uses its steps up.
            With keep clauses, half of the retain set at most is held out of training to measure on.
        holdout: examples that the model was never trained on, exchangeable with the forget set; for "unseen".
        guard: retain examples to measure on, and to steer by, instead of a part of `retain`.
        final: the same, read last.
        retrained: a model retrained without the forget set; for the clause of that name.
        probe: retain examples that no step trains on, for a rule that compares with them (`EUPMU`'s "probe").
        steps: at most so many.
        stop: called with every `Record`; the first one that returns a reason (a text) ends the run.
        callbacks: objects with `on_step(record, objectives)`, `on_reading(waypoint)`, `on_end(result)`, or some of
            them, which are told of it (`unweave.callbacks`, which has some that write to TensorBoard, MLflow and W&B).
        progress: show on stderr, or in the notebook, how many steps are made and how long all would take: True, False,
            or "auto", which is in a terminal and in a notebook.
        parameters: "all", or name patterns of what may move; None is what `requires_grad` says.
        forget_batch: examples per step, over all ranks.
        retain_batch: the same of the retain set.
        micro: micro-batches that each of them is divided into; the accumulation is exact.
        seed: of the order of the data and of every forward's randomness.
        train_mode: run dropout and BatchNorm in training mode; by default the model runs as it is evaluated.
        inplace: unlearn the model itself.
        accelerator: the `accelerate.Accelerator` that prepared the model; implies `inplace`.
        guards: what the checks are told; None: near-duplicates are not looked for, all else is.
        repair: once it is forgotten (the contract's forget clauses hold, or a `stop` gives a reason; without either for
            the last 30 % of the steps), go back to where it just was, which asks contract or `stop` two to five times
            more, and on with steps that pay the retain side back (`repair.Repair`). "auto": under
            a contract, in a trust region; not under an optimizer of yours, nor after a method without steps. "lean" is
            True with averages in bfloat16 (`averages.Averages`).
        until: where the forget loss ends for each example (`losses.Until`): a level of its nll in the task's unit,
            "unseen" for the median of the `holdout` under the original, None for no end. "auto": plain ascent in nats
            ends at 20 (`losses.END`), where a probability of 2e-9 is left, or at twice what a clause asks of the forget
            loss; no end under a clause "unseen", and of no other loss.
        relearner: read the forget loss where up to so many steps of relearning on other forget examples lead
            (`losses.Relearned`), so that less comes back: 4, or 2, which is cheaper. A step then costs (steps + 3) / 2
            forget passes for one. 0: at the weights themselves.
        memory: gradients that are kept of a rule that compares them: "fast" both; "lean" one, for one more pass of a
            side; "least" none, for two to three times the passes (`streaming`). The steps are the same but for
            rounding. "auto": the first of these that the device has room for.
        place: where the states that a trust region, a contract and a repair go back to lie: on the "device", in the
            "host"'s memory, or on "disk" (the folder for temporary files). "auto": on the device; with less than
            "fast" on an accelerator, the host.

    Returns:
        `Result` with the unlearned `model`, its `history`, the `reason` for the end, and what came of the `contract`.

    Raises:
        ConfigurationError: everything that is wrong with the arguments, before a weight moves. What a function of the
            caller's raises (`stop`, `callbacks`) passes as it is, with a note of whose it is.

    Warns:
        GuardWarning: what probably spoils the run (docs/footguns.md); also in `Result.warnings`.
    """
    broken, named = _checked(locals()), method
    settings = Settings(
        forget_batch, retain_batch, micro, seed, train_mode, parameters, until, relearner, memory, place
    )
    holdout, guard, final = (None if each is None else by_index(each) for each in (holdout, guard, final))
    measured = {"holdout": holdout, "guard": guard, "final": final}
    with seeded(seed):
        does = _does(task, model, *(("retain", retain) if holdout is None else ("holdout", holdout)), seed)
        probes = [] if probe is None else list(read(probe, retain_batch, device_of(model)))
        trained, keeper = kept(contract, does, forget, retain, settings, measured, retrained=retrained)
    unlearned = model if inplace or accelerator is not None else copied(model)
    parts = assembled(
        unlearned, does, forget, trained, settings,
        keeper=keeper, probe=probes, accelerator=accelerator, holdout=holdout,
    )  # fmt: skip
    sides, before = (does, forget, retain), dict[str, Seen]()
    others = {name: data for name, data in measured.items() if data is not None}
    looked = partial(
        check, unlearned, *sides, guards=guards or Guards(), seed=seed, seen=before, broken=broken, others=others
    )
    with ExitStack() as stack:
        watch = stack.enter_context(watching(progress if rank() == 0 else False))
        watch("looking at the data", 0, 1)
        with seeded(seed):
            _, warned = gathered(partial(stack.enter_context, parts.ready(whole=True)), looked if steps else list[str])
        watch("looking at the data", 1, 1)
        if isinstance(method, str):
            method = OneShot(method) if method in ONESHOT else made(method, does, bare(model), forget, {})
        parts.make(method, partial(_stepper, step), check=bool(steps))
        certain = bool(before) and not bool(before["forget"].loss.any())
        phases, ends = parts.phases(repair, steps, stop)
        bar = Watched(watch, steps)
        told = {"method": named, "step": step, "task": does, "contract": contract, "steps": steps, "seed": seed}
        original = None if unlearned is model else model
        call = Call(original, *sides, holdout, retrained, told, seed)
        last = LastLook(unlearned, *sides, seed, call, before, warned, lambda: parts.first.moved)
        result = parts.run(steps, callbacks=(last, *callbacks, bar), stop=ends, certain=certain, repair=phases)
    for text in result.warnings:
        warnings.warn(text, GuardWarning, stacklevel=2)
    return result


def _does(task: str | Task, model: nn.Module, name: str, data: Data, seed: int) -> Task:
    """The task of that name, for this model and the data of a set."""
    if not isinstance(task, str):
        return task
    if task in PLAIN:
        return PLAIN[task]()
    whole = bare(model)
    try:
        with evaluating(whole):
            sample = Sample(data, most=LOOKED, seed=seed, device=device_of(whole))
            with of_set(name, sample.rows.tolist()):
                made = FITTED[task](whole, sample)
    finally:
        reshard(model)
    LOG.info("task=%r took %r", task, made)
    return made


def _checked(given: Mapping[str, Any]) -> dict[str, list[int]]:
    """Checks all arguments of the call; what can be said of both sets without a model: rows with NaN or infinity.

    Raises:
        ConfigurationError: everything that is wrong with them.
    """
    wrong = takes.faults(ARGUMENTS, given)
    fitted = isinstance(given["task"], str) and given["task"] in FITTED
    otherwise = given["until"] == "unseen" or fitted  # what else reads the holdout
    read = [name for name in MEASURED if not (name == "holdout" and otherwise)]
    method, alone = given["method"], [name for name in read if given[name] is not None and name not in wrong]
    once = method.name if isinstance(method, OneShot) else method
    if not wrong.keys() & {"method", "step"} and isinstance(once, str) and once in ONESHOT and given["step"] != "trust":
        wrong["method"] = f"step: {once} takes no steps; leave it out."
    if given["contract"] is None and alone:
        wrong["contract"] = (
            f"{' and '.join(alone)}: read by a contract alone, and there is none. Pass contract=unweave.Contract()."
        )
    sides = (
        []
        if wrong.keys() & {"forget", "retain"}
        else [partial(_read, given, [name for name in MEASURED[:3] if name not in wrong])]
    )
    models = [] if "model" in wrong else [partial(modules.check, given["model"])]
    with seeded(0 if "seed" in wrong else given["seed"]):
        return gathered(*sides, *models, partial(takes.refuse, wrong.values()))[0]


def _read(given: Mapping[str, Any], measured: Sequence[str]) -> dict[str, list[int]]:
    """What can be said of the sets without a model, where they can be read by index: rows with NaN or infinity."""
    sides = {name: data for name in ("forget", "retain") if (data := opened(given[name])) is not None}
    gathered(*(partial(check_filled, len(data), name) for name, data in sides.items()))  # type: ignore[arg-type]
    others = {name: data for name in measured if given[name] is not None and (data := opened(given[name])) is not None}
    with told("the examples of forget and retain cannot be compared"):
        check_apart(others, sides)
        return check_overlap(sides["forget"], sides["retain"], others) if len(sides) == 2 else {}


def _stepper(
    step: Literal["trust"] | TrustRegion | Optimizer, model: nn.Module, mask: Mask | None
) -> torch.optim.Optimizer | Stepper:
    if isinstance(step, TrustRegion):
        region = copy.deepcopy(step)
        region.mask = region.mask if mask is None else mask
        return region
    if isinstance(step, str):
        return TrustRegion(mask=mask)
    with told("step: the optimizer refuses its settings"):
        made = step([p for p in model.parameters() if p.requires_grad])
    if not isinstance(made, torch.optim.Optimizer):
        raise ConfigurationError(f"step must be {STEP}; it returned {shown(made)}.{SGD}")
    if isinstance(made, torch.optim.SparseAdam | torch.optim.LBFGS):
        raise ConfigurationError(
            f"step: {type(made).__name__} cannot follow a direction: a rule gives one dense gradient, and no closure. "
            "Use another optimizer (SGD, Adam), or 'trust'."
        )
    return made
