"""The sheet of a task without logits: means of what it reads of each example, and what its membership signal tells."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from unweave.errors import ConfigurationError
from unweave.evaluation.intervals import mean_interval
from unweave.evaluation.metric import Array, Measurement, Metric, Score, finite
from unweave.evaluation.ranking import auc, auc_interval
from unweave.execution import device_of, seeded
from unweave.modules import evaluating
from unweave.samples import Data, Sample
from unweave.tasks import NATS, Known, Task, Value

_RETRAINED = "what a model retrained without the forget set scores; nothing else is right"
_SIDES = {"forget": "the data to forget", "retain": "the data to keep", "test": "unseen data"}
_EXCHANGEABLE = "1/2 where the two sets are exchangeable; otherwise what a retrained model scores"


def sheet(
    model: nn.Module, task: Task, sets: Mapping[str, Data], *, batch_size: int = 512, seed: int = 0
) -> dict[str, Score]:
    """`{set}_{value}` for the loss and each of the task's `values`, and `MIA_AUC` of forget against test.

    Each is a mean over examples with its percentile-bootstrap interval. The model is run in evaluation mode; its modes
    and torch's random state are afterwards as they were.

    Args:
        model: a trained module.
        task: what it does.
        sets: "forget", "retain" and "test", examples of the same distribution that it was never trained on.
        batch_size: of the inference passes, at most what the task reads at once.
        seed: of the bootstrap, and of every forward's randomness.

    Raises:
        ConfigurationError: a set is empty, or the data do not fit the task.
    """
    known = Known(task)
    named = {"loss": Value(known.reading, "mean of the task's loss", known.unit), **known.values}
    found: dict[str, Score] = {}
    signal: dict[str, Array] = {}
    for side, data in sets.items():
        sample = Sample(data, batch=min(batch_size, known.reading_batch), seed=seed)
        if not sample.examples:
            raise ConfigurationError(f"The {side} set is empty: there is nothing to measure. Check the split.")
        read: dict[str, list[Array]] = {name: [] for name in (*named, "")}
        with evaluating(model), torch.no_grad():
            for number, batch in enumerate(sample.batches(device_of(model))):
                for name, value in {**named, "": Value(known.score, "")}.items():
                    with seeded(seed, number):
                        read[name].append(value.read(model, batch).cpu().double().numpy())
        signal[side] = np.concatenate(read.pop(""))
        for name, value in named.items():
            of = np.concatenate(read[name])
            found[f"{side}_{name}"] = _metric(side, name, value).of({}, lambda of=of, side=side: _mean(of, side, seed))  # type: ignore[misc]
    attack = Metric(
        "MIA_AUC",
        "P(a forget example has the higher membership signal than an unseen one) + P(equal) / 2",
        *("share", "as null", (0, 1), "example", "unseen examples that are exchangeable with the forget set"),
        "fewer than 20 examples on a side, or a NaN",
        exact=_EXCHANGEABLE,
        plain="told from unseen data by an attack",
    )
    found[attack.name] = attack.of({}, lambda: _area(signal["forget"], signal["test"], seed))
    return found


def metrics(*tasks: Task) -> dict[str, Metric]:
    """What the values of these tasks are on each set, by name; the losses have the same names for all."""
    named = [(name, value) for task in tasks for name, value in Known(task).values.items()]
    every = (_metric(side, name, value) for name, value in named for side in ("forget", "retain", "test"))
    return {metric.name: metric for metric in every}


def _metric(side: str, name: str, value: Value) -> Metric:
    limits = (0.0, 1.0) if value.unit == "share" else (0.0 if value.unit == NATS else -math.inf, math.inf)
    right = "as null" if side == "forget" else "higher" if value.higher else "lower"
    exact = _RETRAINED if side == "forget" else "the original's, but for what the forget set taught of the others"
    return Metric(
        f"{side}_{name}",
        f"{value.definition}, on the {side} set",
        value.unit,
        right,  # type: ignore[arg-type]
        limits,
        "example",
        "examples with their answers",
        "no examples, or a value that is not finite",
        exact=exact,
        plain=f"{name.replace('_', ' ')} on {_SIDES.get(side, side)}",
    )


def _mean(values: Array, side: str, seed: int) -> Measurement:
    values = finite(values, side)
    return Measurement(float(values.mean()), *mean_interval(values, seed=seed), n=len(values))


def _area(members: Array, others: Array, seed: int) -> Measurement:
    area = auc(members, others)
    return Measurement(area, *auc_interval(members, others, seed=seed), n=min(len(members), len(others)))
