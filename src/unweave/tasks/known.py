"""All that the library asks of a task, with what it takes where a task says nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unweave.data.batches import Batch, as_int64
from unweave.tasks._base import Task, log_odds

Values = Callable[[nn.Module, Batch], Tensor]  # one value per example, [b]
READ = 512  # examples
NATS = "nats"  # the unit of an nll that is a negative log-likelihood
_LEAST = 1e-6  # nats; what float32 resolves of an nll that comes from a log-softmax


class Known:
    """A task, and what only it can tell. A task of two functions (`nll`, `divergence`) is enough; it may say more.

    Attributes:
        logits: `(model, batch) -> [b, classes]` of a classifier over `(inputs, labels)`; None elsewhere.
        unit: of the nll: "nats", or what its values mean ("squared error").
        recognised: `(model, batch) -> [b]`, 1 where what a model that draws makes of an example's condition is
            recognised as asked for, or what draws several of each (`several`, see `Diffusion`); None elsewhere.
        utility: what the default keep clause reads: "accuracy" of a classifier, "recognised" of what draws,
            "perplexity" of other likelihoods, or "loss" where the nll is no likelihood.
        reading: the nll where it is only read, which may take more passes than in a step: `reading_passes`.
        guess: the nll of a model that knows nothing, where the task has one; above it a model has collapsed.
        doubts: `(model, retain batches) -> texts`, what only this task can see that does not fit; None elsewhere.
        reading_batch: examples of one forward pass where the model is only read.
    """

    def __init__(self, task: Task) -> None:
        def said(name: str, otherwise: Any) -> Any:
            return getattr(task, name, otherwise)

        self.task = task
        self.logits: Values | None = said("logits", None)
        self.unit: str = said("unit", NATS)
        self.recognised: Values | None = said("recognised", None)
        self.reading: Values = said("reading", task.nll)
        self.guess: float | None = said("guess", None)
        self.doubts: Callable[[nn.Module, Sequence[Batch]], list[str]] | None = said("doubts", None)
        self.reading_passes: int = said("reading_passes", 1)
        plain = "recognised" if self.recognised is not None else "perplexity" if self.unit == NATS else "loss"
        self.utility: str = said("utility", plain if self.logits is None else "accuracy")
        self.reading_batch: int = said("reading_batch", READ)
        of_nll = self._of_nll if self.unit == NATS else task.nll
        self.odds: Values = said("odds", self._of_logits if self.logits is not None else of_nll)
        """Log-odds of an error of each example, `log((1 - p) / p)`, nats: far below 0 it is known, above 0 not.
        Where the nll is no likelihood there are none, and it is the nll itself."""
        self.score: Values = said("score", self._negative_nll if self.logits is None else self._margin)
        """What a membership attack looks at: high for examples that are known."""

    def classified(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """Logits `[b, classes]` and labels `[b]`; None of a task, or of a batch, that has none."""
        if self.logits is None or not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            return None
        return self.logits(model, batch), as_int64(batch[1])

    def _of_logits(self, model: nn.Module, batch: Batch) -> Tensor:
        assert self.logits is not None
        return log_odds(self.logits(model, batch), as_int64(batch[1]))

    def _of_nll(self, model: nn.Module, batch: Batch) -> Tensor:
        nll = self.task.nll(model, batch).clamp_min(_LEAST)
        return nll + (-torch.expm1(-nll)).log()

    def _margin(self, model: nn.Module, batch: Batch) -> Tensor:
        """`log p_y - log(1 - p_y)`, which keeps the order of examples whose loss is 0 in float32."""
        return -self._of_logits(model, batch)

    def _negative_nll(self, model: nn.Module, batch: Batch) -> Tensor:
        return -self.task.nll(model, batch)
