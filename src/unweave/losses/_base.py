"""What a loss is, and what some losses ask of a task beyond `Task`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from torch import Tensor, nn

from unweave.errors import UnsupportedError
from unweave.tasks import Language, Owners, Predictions

Batch = Any
Loss = Callable[[nn.Module, Batch], Tensor]  # per-example losses [b], to be minimised


class Predictor(Protocol):
    """A task that shows its predictions: one per example for classes, one per answer token for texts."""

    def predictions(self, model: nn.Module, batch: Batch) -> Predictions:
        """Logits where the batch knows the answer."""


def predictor(task: object, what: str) -> Predictor:
    """The task itself, if it shows its predictions; otherwise says why `what` needs them."""
    if not callable(getattr(task, "predictions", None)):
        raise UnsupportedError(
            f"{what} needs a task with predictions(model, batch) -> Predictions, such as tasks.Classification or "
            f"tasks.Language; {type(task).__name__} has none. Choose another method, or give the task that function."
        )
    return cast(Predictor, task)


def language(task: object, what: str) -> Language:
    """The task itself, if it is a language task; otherwise says that `what` is about texts."""
    if not callable(getattr(task, "token_logprobs", None)):
        raise UnsupportedError(
            f"{what} is about texts and needs tasks.Language; found {type(task).__name__}. Choose another method."
        )
    return cast(Language, task)


__all__ = ["Batch", "Loss", "Owners", "Predictions", "Predictor", "language", "predictor"]
