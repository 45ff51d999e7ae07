"""A metric is one value per example; perplexity is judged through the loss, accuracy is 0 or 1.

What is drawn takes no example but its condition: a metric of it may give several values, of as many images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unweave.contract.clauses import Metric
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.tasks import Known, Task

DRAWN = ("recognised", "generated")  # both are whether what is drawn is recognised: of retain, of forget examples
SCORE = "score"  # what a membership attack looks at: high for examples that are known


@torch.no_grad()
def values(metric: str | Metric, task: Task, model: nn.Module, batch: Any) -> Tensor:
    """The metric of every example, `[b]` in float64 on the CPU; `[b k]` where k images were drawn for each.

    Raises:
        UnsupportedError: the task has no accuracy or overlap, and the metric is that.
        ConfigurationError: not one value per example.
    """
    if metric in DRAWN:
        metric = drawn(task)
    if callable(metric):
        found = metric(model, batch)
    elif metric in ("loss", "perplexity"):
        found = Known(task).reading(model, batch)
    elif metric == SCORE:
        found = Known(task).score(model, batch)
    elif (read := Known(task).overlap if metric == "overlap" else Known(task).accuracy) is not None:
        found = read(model, batch)
    else:
        what = "places" if metric == "overlap" else "logits or an accuracy"
        raise UnsupportedError(f"{metric} needs a task with {what}; use 'loss', or a function (model, batch) -> [b].")
    if isinstance(found, Tensor) and found.ndim == 2 and hasattr(metric, "several"):
        found = found.flatten()
    if not isinstance(found, Tensor) or found.ndim != 1:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ConfigurationError(f"A metric must return one value per example, [b]; {key(metric)} returned {shape}.")
    return found.detach().cpu().double()


def drawn(task: Task, images: int = 1, skip: int = 0) -> Metric:
    """What "recognised" and "generated" read: of so many images for each example, if the task can draw several.

    `skip` are those that are left out before them: others than a first reading had.

    Raises:
        ConfigurationError: the task says nothing of what is drawn.
    """
    found = Known(task).recognised
    if found is None:
        raise ConfigurationError(
            "contract: 'recognised' and 'generated' are of models that draw, and of a task that says what is "
            "recognised: Diffusion(..., recognised=function (model, batch) -> [b])."
        )
    several: Callable[[int, int], Metric] | None = getattr(found, "several", None)
    return found if several is None else several(images, skip)


def passes(metric: str | Metric, task: Task) -> int:
    """Forward passes that an example takes; of a function those that it says (`passes`), or one."""
    known = Known(task)
    if metric in ("loss", "perplexity"):
        return known.reading_passes
    return int(getattr(known.recognised if metric in DRAWN else metric, "passes", 1))


def key(metric: str | Metric, number: int = 0) -> str:
    """What the values are stored under; perplexity and loss share theirs, functions are told apart by a number."""
    if isinstance(metric, str):
        return "loss" if metric == "perplexity" else metric
    return f"{getattr(metric, '__name__', 'function')} {number}"


class Once(nn.Module):
    """A model that answers the same call from memory: several metrics of a batch cost one forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.module = model  # the name that says it is a wrapper
        self._asked: Any = None
        self._answer: Any = None

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The model's output; the same object for the very same inputs as in the last call."""
        if self._asked is None or _ids(*self._asked) != _ids(inputs, named):
            self._answer, self._asked = self.module(*inputs, **named), (inputs, named)
        return self._answer

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


def _ids(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[list[int], dict[str, int]]:
    return list(map(id, inputs)), {name: id(value) for name, value in named.items()}
