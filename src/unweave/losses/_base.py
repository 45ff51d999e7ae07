"""What a loss is, and what some losses ask of a task beyond `Task`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from torch import Tensor, nn

from unweave.errors import UnsupportedError

Batch = Any
Loss = Callable[[nn.Module, Batch], Tensor]  # per-example losses [b], to be minimised


class Classifier(Protocol):
    """A task with one distribution over classes per example, such as `unweave.tasks.Vision`."""

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Scores `[b, classes]`."""
        ...


def classifier(task: object, what: str) -> Classifier:
    """The task itself, if it has logits; otherwise says why `what` needs them."""
    if not callable(getattr(task, "logits", None)):
        raise UnsupportedError(
            f"{what} needs a task with logits(model, batch) -> [b, classes], such as tasks.Vision; "
            f"{type(task).__name__} has none. Choose another method, or give the task that function."
        )
    return cast(Classifier, task)
