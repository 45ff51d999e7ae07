"""What a loss is, and what some losses ask of a task beyond `Task`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from torch import Tensor, nn

from unweave.errors import UnsupportedError
from unweave.tasks import Diffusion, Language, Owners, Predictions

Batch = Any
Loss = Callable[[nn.Module, Batch], Tensor]  # per-example losses [b], to be minimised


class Predictor(Protocol):
    """A task that shows its predictions: one per example for classes, one per answer token for texts."""

    def predictions(self, model: nn.Module, batch: Batch) -> Predictions:
        """Logits where the batch knows the answer."""


def predicts(task: object) -> bool:
    """Whether the task shows its predictions."""
    return callable(getattr(task, "predictions", None))


def predictor(task: object, what: str) -> Predictor:
    """The task itself, if it shows its predictions; otherwise says why `what` needs them."""
    if not predicts(task):
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


def denoises(task: object) -> bool:
    """Whether the task is that of a diffusion model: it noises a batch and predicts from it, for any condition."""
    return all(callable(getattr(task, name, None)) for name in ("draw", "predict", "distance"))


def denoiser(task: object, what: str) -> Diffusion:
    """The task itself, if it is that of a diffusion model; otherwise says that `what` is about these."""
    if not denoises(task):
        raise UnsupportedError(
            f"{what} is about diffusion models and needs tasks.Diffusion; found {type(task).__name__}. Choose another "
            "method."
        )
    return cast(Diffusion, task)


__all__ = ["Batch", "Loss", "Owners", "Predictions", "Predictor", "denoiser", "denoises", "language", "predictor"]
