"""What a request will meet, measured on a few pairs without changing a weight."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from unweave.data.pairs import Pairs
from unweave.diagnosis.hardness import cosine, feasible_quota, free_share, front, kappa, thresholds, verdict
from unweave.diagnosis.quote import Block, Diagnosis, Point
from unweave.errors import ConfigurationError
from unweave.gramian import Blocks, gramian
from unweave.losses import Ascent
from unweave.objectives import Objectives
from unweave.tasks import Task

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)  # of the fastest forgetting: the points of the front


def diagnose(
    model: nn.Module,
    forget: Dataset[Any] | DataLoader[Any],
    retain: Dataset[Any] | DataLoader[Any],
    task: Task,
    *,
    batches: int = 4,
    blocks: Blocks = "layer",
    share: float = 0.1,
    forget_batch: int = 64,
    retain_batch: int = 256,
    micro: int = 1,
    seed: int = 0,
) -> Diagnosis:
    """Says how hard it is to forget, and what a step costs, from the gradients of a few pairs.

    Weights, buffers, `.grad` and torch's random state stay as they are; the model's mode is used as found.
    The objectives are ascent and descent of the task's nll. Inner products are averaged over the pairs. They
    are those that a step meets: the noise of a batch lengthens its gradient, so larger batches show larger
    cosines.

    Args:
        model: what would be unlearned; parameters that require a gradient count.
        forget: what to forget.
        retain: what to keep.
        task: gives the nll of each example.
        batches: pairs to look at.
        blocks: "tensor", "layer" or "model": what the quota and the table are split by.
        share: of the fastest forgetting to judge, in (0, 1].
        forget_batch: forget examples of a pair.
        retain_batch: retain examples of a pair.
        micro: micro-batches that each is divided into, to save memory.
        seed: of the pairs.

    Raises:
        ConfigurationError: a value out of range, an empty set, nothing that may move, or a gradient that is
            not finite.
    """
    if batches < 1 or not 0 < share <= 1:
        raise ConfigurationError(f"batches must be at least 1 and share in (0, 1]; found {batches} and {share}.")
    objectives = Objectives(model, (Ascent(task.nll), task.nll))
    index, device = objectives.block_index(blocks), objectives.parameters[0].device
    sizes = {"forget_batch": forget_batch, "retain_batch": retain_batch, "micro": micro}
    pairs = Pairs(forget, retain, **sizes, seed=seed, device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    losses, gramians, seconds = [], [], []
    with _untouched(model):
        for pair in islice(pairs, batches):
            begin = time.perf_counter()
            loss, gradients = objectives.at(pair).gradients()
            gramians.append(gramian(gradients, index))
            seconds.append(time.perf_counter() - begin)
            losses.append(loss)
    names = _names(objectives.names, index, blocks)
    cost = (median(seconds), _peak_memory(device))
    return _diagnosis(torch.stack(losses), torch.stack(gramians), names, share, *cost)


def _diagnosis(
    losses: Tensor, gramians: Tensor, names: list[str], share: float, seconds: float, memory: int | None
) -> Diagnosis:
    """From the losses `[pairs, 2]` and the Gramians `[pairs, B, 2, 2]`."""
    if not bool(gramians.isfinite().all() and losses.isfinite().all()):
        raise ConfigurationError("A loss or gradient is not finite. Look for NaN in the data and in the weights.")
    split = gramians.mean(0)
    whole, quota = split.sum(0), feasible_quota(split)
    norm_f, norm_r = whole.diagonal().sqrt().tolist()
    kappa1, kappa2 = thresholds(whole, share * norm_f)
    forget_loss, retain_loss = losses.mean(0).tolist()
    points = []
    for c, change in zip(SHARES, front(whole, torch.tensor(SHARES, dtype=whole.dtype)).tolist(), strict=True):
        points.append(Point(c, change, change * norm_r / (c * norm_f) if norm_f else None))
    table = []
    for name, g in zip(names, split, strict=True):
        part = float(feasible_quota(g) / quota) if quota > 0 else 0.0
        table.append(Block(name, _number(cosine(g)), float(kappa(g)), part))
    return Diagnosis(
        verdict=verdict(whole, share),
        share=share,
        forget_loss=-forget_loss,
        retain_loss=retain_loss,
        cosine=_number(cosine(whole)),
        cosines=tuple(_number(cosine(g.sum(0))) for g in gramians),
        kappa=float(kappa(whole)),
        kappa1=float(kappa1),
        kappa2=float(kappa2),
        quota=float(quota),
        free_share=float(free_share(whole)),
        front=tuple(points),
        blocks=tuple(table),
        seconds_per_step=seconds,
        peak_memory_bytes=memory,
    )


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Puts buffers and `.grad` back; the gradients of the diagnosis never reach a weight."""
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    grads = [(p, p.grad) for p in model.parameters()]
    try:
        yield
    finally:
        for buffer, value in buffers:
            buffer.copy_(value)
        for parameter, grad in grads:
            parameter.grad = grad


def _names(names: list[str], index: list[int], blocks: Blocks) -> list[str]:
    if blocks == "model":
        return ["model"]
    of = {i: name if blocks == "tensor" else name.rpartition(".")[0] for name, i in zip(names, index, strict=True)}
    return [of[i] for i in range(len(of))]


def _peak_memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _number(value: Tensor) -> float | None:
    return None if math.isnan(float(value)) else float(value)
