"""What a request will meet, measured without changing a weight."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unweave import arguments as takes
from unweave import devices
from unweave.arguments import SEEDS
from unweave.data.pairs import Pairs, count
from unweave.data.protocol import indexed
from unweave.diagnosis.conflict import conflict, forecasts, grouped, ranked
from unweave.diagnosis.examples import log_odds
from unweave.diagnosis.hardness import cosine, feasible_quota, free_share, front, kappa, thresholds, verdict
from unweave.diagnosis.quote import Block, Diagnosis, Point, retrain_cost, run_cost, suggestion
from unweave.errors import ConfigurationError
from unweave.gramian import Blocks, gramian, local, norm
from unweave.losses import Ascent
from unweave.losses._base import denoises
from unweave.modules import evaluating, joined
from unweave.objectives import Objectives
from unweave.samples import Data, Sample
from unweave.tasks import NATS, Known, Task

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)  # of the fastest forgetting: the points of the front
_RULES: dict[str, takes.Rule] = {
    **{"model": takes.model, "forget": takes.examples, "retain": takes.examples, "task": takes.task},
    **dict.fromkeys(("batches", "examples", "steps"), takes.value(int)),
    **dict.fromkeys(("forget_batch", "retain_batch", "micro"), takes.natural),
    **{"blocks": takes.value(Blocks), "share": takes.value(float), "seed": takes.value(int, SEEDS)},
    **{"epochs": takes.value(int | None, "[0, inf)"), "retrain_seconds": takes.value(float | None, "[0, inf)")},
    "groups": takes.kind("a sequence of one name per forget example, or None", Sequence, np.ndarray, None),
}


def diagnose(
    model: nn.Module,
    forget: Data,
    retain: Data,
    task: Task,
    *,
    batches: int = 4,
    examples: int = 2000,
    groups: Sequence[Hashable] | None = None,
    blocks: Blocks = "layer",
    share: float = 0.1,
    steps: int = 100,
    epochs: int | None = None,
    retrain_seconds: float | None = None,
    forget_batch: int = 64,
    retain_batch: int = 256,
    micro: int = 1,
    seed: int = 0,
) -> Diagnosis:
    """The quote: how hard it is to forget, who would pay, what to run, and what that and retraining cost.

    Weights, buffers, modes, `.grad` and torch's random state are found again as they were; the model is looked at in
    evaluation mode. Costs about eight forward passes over the forget set and six over the retain sample (a backward
    pass counted as two), and a few pairs; `Diagnosis.forwards` and `.seconds` say how much it was.

    Args:
        model: what would be unlearned; parameters that require a gradient count.
        forget: what to forget; all of it is looked at.
        retain: what to keep.
        task: gives the nll of each example.
        batches: pairs to look at, for what a step meets and costs.
        examples: retain examples to look at, at most.
        groups: a name for each forget example, in the data set's order; None takes labels where a batch has them.
        blocks: "tensor", "layer" or "model": what the quota and the table are split by.
        share: of the fastest forgetting to judge, in (0, 1].
        steps: of the run to estimate.
        epochs: of a training from scratch, if known.
        retrain_seconds: what a training of this kind took, if known.
        forget_batch: forget examples of a pair.
        retain_batch: retain examples of a pair, and of a forward pass here.
        micro: micro-batches that each is divided into, to save memory.
        seed: of the pairs and of the retain sample.

    Raises:
        ConfigurationError: a value out of range, an empty set, groups that do not fit, nothing that may move, or a
            gradient that is not finite.
    """
    begin = time.perf_counter()
    takes.check(_RULES, locals())
    if min(batches, examples, steps) < 1 or not 0 < share <= 1:
        raise ConfigurationError(
            f"batches, examples and steps must be at least 1 and share in (0, 1]; found {batches}, {examples}, {steps} "
            f"and {share}."
        )
    sizes = {"forget_batch": forget_batch, "retain_batch": retain_batch, "micro": micro}
    at_once = max(1, retain_batch // micro)
    with joined(model), _untouched(model):
        objectives = Objectives(model, (Ascent(task.nll), task.nll))
        index, device = objectives.block_index(blocks), objectives.parameters[0].device
        pairs = Pairs(forget, retain, **sizes, seed=seed, device=device)
        met = _steps(objectives, pairs, batches, index, device)
        sides = sampled(forget, None, at_once, seed, device), sampled(retain, examples, at_once, seed, device)
        named = _groups(groups, sides[0]), sides[1].labels()
        odds = log_odds(task)
        found = conflict(Objectives(model, (odds, odds)), odds, *sides, index)
    split, whole = found.gramian, found.gramian.sum(0)
    judged = verdict(whole, share, found.error)
    kappa1, kappa2 = thresholds(met.whole, share * met.whole[0, 0].sqrt())
    total = _size(forget), _size(retain)
    forwards = found.forwards + met.forwards
    seconds_per_example = met.gradient_seconds * batches / max(1, met.forwards) * 4
    length = float(norm([p.detach() for p in objectives.parameters]))
    width = sum(local(p).numel() * p.element_size() for p in objectives.parameters)
    return Diagnosis(
        verdict=judged,
        share=share,
        hardness=_negative(_number(cosine(whole))),
        hardness_error=found.error,
        price=_mean(found.prices),
        free_share=float(free_share(whole)),
        front=_points(whole),
        ranges=found.ranges,
        forecast=() if Known(task).unit != NATS else forecasts(found, length),
        forget=() if found.forget is None else ranked(found.hardness, found.forget.value, sides[0].rows, named[0]),
        payers=() if found.payers is None else ranked(found.prices, found.payers.value, sides[1].rows, named[1]),
        groups=() if found.forget is None else grouped(found.hardness, named[0]),
        paying_groups=() if found.payers is None else grouped(found.prices, named[1]),
        forget_loss=-float(met.losses[0]),
        retain_loss=float(met.losses[1]),
        cosine=_number(cosine(met.whole)),
        cosines=tuple(_number(cosine(g)) for g in met.pairs),
        kappa=float(kappa(met.whole)),
        kappa1=float(kappa1),
        kappa2=float(kappa2),
        quota=float(feasible_quota(met.split)),
        blocks=_blocks(_names(objectives.names, index, blocks), split, met.split),
        suggestion=suggestion(judged.level, denoises(task)),
        run=run_cost(steps, met.seconds, met.memory, width),
        retrain=retrain_cost(total[1], seconds_per_example, met.memory, epochs, retrain_seconds),
        seconds_per_step=met.seconds,
        peak_memory_bytes=met.memory,
        seconds=time.perf_counter() - begin,
        forwards=forwards,
        epochs=None if total[0] is None or total[1] is None else forwards / (3 * (total[0] + total[1])),
    )


@dataclass(frozen=True, eq=False)
class _Steps:
    """What the steps of a run would meet: means over pairs."""

    losses: Tensor  # [2]
    split: Tensor  # [B, 2, 2]
    pairs: Tensor  # [pairs, 2, 2]
    seconds: float
    gradient_seconds: float
    memory: int | None
    forwards: int

    @property
    def whole(self) -> Tensor:
        return self.split.sum(0)


def _steps(objectives: Objectives, pairs: Pairs, batches: int, index: Sequence[int], device: torch.device) -> _Steps:
    devices.forget_peak(device)
    losses, gramians, gradient_seconds, look_seconds, seen = [], [], [], [], 0
    for pair in islice(pairs, batches):
        begin = time.perf_counter()
        loss, gradients = objectives.at(pair).gradients()
        gramians.append(gramian(gradients, index))
        between = time.perf_counter()
        objectives.losses()
        look_seconds.append(time.perf_counter() - between)
        gradient_seconds.append(between - begin)
        losses.append(loss)
        seen += sum(count(batch) for side in (pair.forget, pair.retain) for batch in side)
    found = torch.stack(losses), torch.stack(gramians)
    if not all(bool(x.isfinite().all()) for x in found):
        raise ConfigurationError("A loss or gradient is not finite. Look for NaN in the data and in the weights.")
    gradient = median(gradient_seconds)
    memory = devices.peak(device)
    return _Steps(
        found[0].mean(0), found[1].mean(0), found[1].sum(1), gradient + median(look_seconds), gradient, memory, 4 * seen
    )


def _points(whole: Tensor) -> tuple[Point, ...]:
    norm_f, norm_r = whole.diagonal().sqrt().tolist()
    changes = front(whole, torch.tensor(SHARES, dtype=whole.dtype)).tolist()
    prices = [change * norm_r / (c * norm_f) if norm_f else None for c, change in zip(SHARES, changes, strict=True)]
    return tuple(Point(*point) for point in zip(SHARES, changes, prices, strict=True))


def _blocks(names: Sequence[str], judged: Tensor, met: Tensor) -> tuple[Block, ...]:
    """Cosines of the log-odds, kappa and part of the quota of the pairs."""
    quota = feasible_quota(met)
    found = []
    for name, g, step in zip(names, judged, met, strict=True):
        part = float(feasible_quota(step) / quota) if quota > 0 else 0.0
        found.append(Block(name, _number(cosine(g)), float(kappa(step)), part))
    return tuple(found)


def sampled(data: Data, most: int | None, batch: int, seed: int, device: torch.device) -> Sample:
    """The examples that a quote looks at: all, or so many at most; of a loader the batches that come first.

    Raises:
        ConfigurationError: there is no example, or no length to draw from.
    """
    rows = None
    if indexed(data):
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))  # type: ignore[arg-type]
        rows = order[: len(order) if most is None else most].sort().values.numpy()
    elif not isinstance(data, DataLoader):
        raise ConfigurationError(
            f"the data must be a dataset with a length and an index, found {type(data).__name__}: put it into "
            "a DataLoader"
        )
    sample = Sample(data, rows=rows, most=most, batch=batch, seed=seed, device=device, stride=1)
    if not sample.examples:
        raise ConfigurationError("there must be at least one example to forget and one to keep, found 0")
    return sample


def _groups(groups: Sequence[Hashable] | None, forget: Sample) -> Sequence[Hashable] | None:
    if groups is None:
        return forget.labels()
    if len(groups) != forget.examples:
        raise ConfigurationError(
            f"groups must name each forget example; found {len(groups)} names for {forget.examples} examples."
        )
    return [groups[row] for row in forget.rows.tolist()]


def _size(data: Data) -> int | None:
    data = data.dataset if isinstance(data, DataLoader) else data
    return len(data) if hasattr(data, "__len__") else None


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; puts modes, buffers and `.grad` back."""
    grads = [(p, p.grad) for p in model.parameters()]
    try:
        with evaluating(model):
            yield
    finally:
        for parameter, grad in grads:
            parameter.grad = grad


def _names(names: list[str], index: list[int], blocks: Blocks) -> list[str]:
    if blocks == "model":
        return ["model"]
    of = {i: name if blocks == "tensor" else name.rpartition(".")[0] for name, i in zip(names, index, strict=True)}
    return [of[i] for i in range(len(of))]


def _number(value: Tensor) -> float | None:
    return None if math.isnan(float(value)) else float(value)
