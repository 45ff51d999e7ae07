"""One inference pass over a data set; every metric reads its result, none asks the model again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from unweave.data.batches import ANSWERS, answered, as_int64, collated, moved
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.evaluation.metric import Array
from unweave.execution import device_of
from unweave.modules import evaluating
from unweave.tasks import Known, log_odds

Data = Dataset[Any] | DataLoader[Any]


@runtime_checkable
class Classifier(Protocol):
    """The part of a task that scoring needs."""

    def logits(self, model: nn.Module, batch: Any) -> Tensor:
        """The model's scores `[b, classes]` for a batch; its labels are `tasks.Known.labels`."""
        ...


@dataclass(frozen=True)
class Outputs:
    """A classifier's logits `[n, classes]` in float32 and the labels `[n]`, on the CPU, and their signals.

    The signals come from the margin, never through a rounded probability: they keep the order of examples
    whose p_y is 1 in float32.
    """

    logits: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", as_int64(self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def margin(self) -> Array:
        """`log p_y - log(1 - p_y) = z_y - logsumexp_{j != y} z_j`, `[n]`."""
        return (-log_odds(self.logits, self.labels)).double().numpy()

    @property
    def nll(self) -> Array:
        """`-log p_y = log(1 + exp(-margin))`, `[n]`, in nats."""
        return nn.functional.softplus(-torch.from_numpy(self.margin)).numpy()

    @property
    def confidence(self) -> Array:
        """`p_y = 1 / (1 + exp(-margin))`, `[n]`."""
        return torch.from_numpy(self.margin).sigmoid().numpy()

    @property
    def correct(self) -> Array:
        """1 where the largest logit is the label's, 0 elsewhere, NaN where a logit is NaN, `[n]`."""
        right = (self.logits.argmax(1) == self.labels).double()
        return right.masked_fill(self.logits.isnan().any(1), torch.nan).numpy()

    def where(self, chosen: Tensor) -> Outputs:
        """The examples of a boolean mask `[n]`, or of rows in their order."""
        return Outputs(self.logits[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Splits:
    """A model's outputs on the three sets, and what a class-wise request makes of the test set."""

    forget: Outputs
    retain: Outputs
    test: Outputs

    @cached_property
    def forgotten(self) -> Tensor:
        """The classes that the request removes whole: in the forget set and nowhere in the retain set."""
        present = self.forget.labels.unique()
        return present[~torch.isin(present, self.retain.labels)]

    @property
    def kept_test(self) -> Outputs:
        """The test set without the forgotten classes."""
        return self.test.where(~torch.isin(self.test.labels, self.forgotten))

    @property
    def forgotten_test(self) -> Outputs:
        """The test examples of the forgotten classes; none unless a class is removed whole."""
        return self.test.where(torch.isin(self.test.labels, self.forgotten))


def predict(model: nn.Module, task: Classifier, data: Data, *, batch_size: int = 512, name: str = "scored") -> Outputs:
    """Runs the model once over the data, in evaluation mode and without a graph.

    Modes, buffers and torch's random state are afterwards as they were.

    Args:
        model: a classifier; its first parameter tells the device.
        task: turns model and batch into logits.
        data: a data set of `(input, label)` or of mappings, or a loader of such batches, which is read as it is.
        batch_size: for a data set.
        name: what the messages call the data.

    Raises:
        ConfigurationError: the data are empty, no pairs, or have a label that is no class of the model.
        UnsupportedError: the task has no logits, or the model one class.
    """
    if not isinstance(task, Classifier):
        raise UnsupportedError(
            f"Classification scores need a task with logits(model, batch); {type(task).__name__} has none. "
            "Use task 'classification', or score this model with metrics of its own kind."
        )
    loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size, collate_fn=collated)
    device = device_of(model)
    known, logits, labels = Known(task), list[Tensor](), list[Tensor]()  # type: ignore[arg-type]
    with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        for batch in loader:
            here = moved(_labelled(batch, name), device)
            logits.append(task.logits(model, here).float().cpu())
            labels.append(known.labels(here).cpu())
    if not labels:
        raise ConfigurationError(f"The {name} set is empty: there is nothing to measure. Check the split.")
    return _checked(Outputs(torch.cat(logits), torch.cat(labels)), name)


def _labelled(batch: Any, name: str) -> Any:
    parts = answered(batch)
    if parts is None or not isinstance(parts[1], Tensor):
        raise ConfigurationError(
            f"The {name} set must give batches (inputs, labels) of tensors, or mappings with one of "
            f"{', '.join(ANSWERS)}; it gives {type(batch).__name__}."
        )
    return batch


def _checked(outputs: Outputs, name: str) -> Outputs:
    classes, low, high = outputs.logits.shape[1], int(outputs.labels.min()), int(outputs.labels.max())
    if classes < 2:
        raise UnsupportedError("The model gives one logit per example; scoring needs one for each class.")
    if low < 0 or high >= classes:
        raise ConfigurationError(
            f"The {name} set has labels from {low} to {high}; the model knows classes 0 to {classes - 1}."
        )
    return outputs
