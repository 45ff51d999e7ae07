"""Near-duplicates: unlearned in the forget set alone, an example stays known through its twin in the retain set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unweave.data.batches import answered
from unweave.data.protocol import indexed
from unweave.errors import ConfigurationError
from unweave.guards.finding import SAMPLE, Finding, Guards
from unweave.guards.probe import passes
from unweave.samples import Data, Sample
from unweave.tasks import Task


def near_duplicates(
    model: nn.Module, task: Task, forget: Data, retain: Data, guards: Guards, seed: int = 0
) -> Finding | None:
    """Counts forget examples that have a near-duplicate of the same label in the retain set.

    The distance of two examples is Euclidean, between their inputs or between the model's features of them, divided
    by the root mean square distance of two random retain examples. 500 forget examples are compared at most.

    Raises:
        ConfigurationError: the inputs are no numbers that have a distance.
    """
    if guards.near_duplicates == "off":
        return None
    features = guards.near_duplicates == "features"
    rows = np.arange(len(forget)) if indexed(forget) else np.arange(0)  # type: ignore[arg-type]
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))
    own = list(_vectors(model, task, Sample(forget, rows=rows if len(rows) else None, most=SAMPLE), features, seed))
    left, tags = torch.cat([vectors for vectors, _ in own]), _joined([labels for _, labels in own])
    nearest = torch.full((len(left),), torch.inf, dtype=left.dtype)
    twin = torch.zeros(len(left), dtype=torch.int64)
    seen, total, square = 0, torch.zeros(left.shape[1], dtype=torch.float64), 0.0
    for right, labels in _vectors(model, task, Sample(retain, seed=seed), features, seed):
        distances = torch.cdist(left, right)
        if tags is not None and labels is not None:
            distances.masked_fill_(tags[:, None] != labels, torch.inf)
        least, place = distances.min(1)
        twin = torch.where(least < nearest, place + seen, twin)
        nearest = torch.minimum(nearest, least)
        seen, total, square = (
            seen + len(right),
            total + right.double().sum(0),
            square + float(right.double().square().sum()),
        )
    typical = (2 * max(square / seen - float((total / seen).square().sum()), 0.0)) ** 0.5
    close = (nearest <= guards.distance * typical).nonzero()[:, 0].tolist()
    if not close:
        return None
    numbers = rows if len(rows) else np.arange(len(left))
    first = ", ".join(f"forget[{numbers[i]}] and retain[{int(twin[i])}]" for i in close[:5])
    return Finding(
        f"near-duplicates: {len(close)} of {len(left)} forget examples that were compared have one of their label in "
        f"the retain set, within {100 * guards.distance:g} % of the distance of random examples by their "
        f"{guards.near_duplicates} (first: {first}). Unlearning the one and training on the other leaves the influence "
        "where it was: move the twins to the forget set too."
    )


def _vectors(
    model: nn.Module, task: Task, examples: Sample, features: bool, seed: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Vectors `[b, d]` and labels `[b]`, batch by batch, on the CPU."""
    for whole, batch in passes(model, examples, seed):
        vectors = _features(whole, task, batch) if features else _inputs(batch)
        answer = None if (parts := answered(batch)) is None else parts[1]
        single = isinstance(answer, Tensor) and answer.ndim and answer.numel() == len(answer)
        yield vectors.flatten(1).float().cpu(), answer.flatten().cpu() if single else None  # type: ignore[union-attr]


def _inputs(batch: Any) -> Tensor:
    values = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (tuple, list)) else [batch]
    first = next(iter(values), None)
    if not (isinstance(first, Tensor) and first.is_floating_point() and first.ndim > 1):
        raise ConfigurationError(
            "near_duplicates='pixels' compares inputs [b, ...] of floating-point numbers; these are others. Use "
            "'features', or 'off'."
        )
    return first if first.layout == torch.strided else first.to_dense()


@torch.no_grad()
def _features(model: nn.Module, task: Task, batch: Any) -> Tensor:
    """What the last linear layer is given; the answer itself of a model without one."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    caught: list[Tensor] = []
    module = linear[-1] if linear else model
    hook = module.register_forward_hook(lambda _, given, answer: caught.append(given[0] if linear else answer))
    try:
        task.nll(model, batch)
    finally:
        hook.remove()
    return caught[-1]


def _joined(labels: list[Tensor | None]) -> Tensor | None:
    known = [each for each in labels if each is not None]
    return torch.cat(known) if known and len(known) == len(labels) else None
