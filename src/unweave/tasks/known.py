"""All that the library asks of a task, with what it takes where a task says nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unweave.data.batches import Batch, answered, as_classes
from unweave.devices import finest
from unweave.errors import ConfigurationError
from unweave.tasks._base import Predictions, Task, Value, log_odds

Values = Callable[[nn.Module, Batch], Tensor]  # one value per example, [b]
READ = 512  # examples
NATS = "nats"  # the unit of an nll that is a negative log-likelihood
_LEAST = 1e-6  # nats; what float32 resolves of an nll that comes from a log-softmax


class Known:
    """A task, and what only it can tell. A task of two functions (`nll`, `divergence`) is enough; it may say more.

    Attributes:
        logits: `(model, batch) -> [b, classes]` of a classifier; None elsewhere.
        labels: `batch -> [b]`, the class of each example; what the batch says (`data.batches.answered`), if the task
            says nothing.
        predictions: `(model, batch) -> Predictions`, logits of classes and which of them is right; None elsewhere.
        answers: `(batch, classes)`, refuses answers that no model of so many classes (0: not known) can have been
            trained on; None elsewhere, where `labels` say what a classifier's are.
        accuracy: `(model, batch) -> [b]` in [0, 1], how right each example is: 1 where a classifier's largest logit is
            the label's; None of a task that has no such thing.
        overlap: `(model, batch) -> [b]` in [0, 1], intersection over union of the classes of an example's places; None
            of a task without places.
        unit: of the nll: "nats", or what its values mean ("squared error").
        recognised: `(model, batch) -> [b]`, 1 where what a model that draws makes of an example's condition is
            recognised as asked for, or what draws several of each (`several`, see `Diffusion`); None elsewhere.
        utility: what the default keep clause reads: "overlap" or "accuracy" where there is one, "recognised" of what
            draws, "perplexity" of other likelihoods, or "loss" where the nll is no likelihood.
        reading: the nll where it is only read, which may take more passes than in a step: `reading_passes`.
        tokens: whether labels beside input_ids are these tokens; not of a task that gives each of them a class.
        guess: the nll of a model that knows nothing: one number, or `(model, batch) -> [b]`; None elsewhere.
        beyond: times the guess, above which a model has collapsed.
        classed: whether a whole number beside an example is its class; not of a regression.
        graded: whether accuracy has values between 0 and 1.
        values: what else a task reads of each example, by name.
        doubts: `(model, retain batches) -> texts`, what only this task can see that does not fit; None elsewhere.
        reading_batch: examples of one forward pass where the model is only read.
    """

    def __init__(self, task: Task) -> None:
        if isinstance(task, (str, type)) or not callable(getattr(task, "nll", None)):
            raise ConfigurationError(
                f"task: expected an object with nll(model, batch), found {task!r}: one of unweave.tasks, such as "
                "Classification() or Regression(scale), or one of your own (docs/your-own-task.md)"
            )

        def said(name: str, otherwise: Any) -> Any:
            return getattr(task, name, otherwise)

        self.task = task
        self.logits: Values | None = said("logits", None)
        self.labels: Callable[[Batch], Tensor] = said("labels", _classes)
        self.predictions: Callable[[nn.Module, Batch], Predictions] | None = said("predictions", None)
        self.answers: Callable[[Batch, int], None] | None = said("answers", None)
        self.accuracy: Values | None = said("accuracy", None if self.logits is None else self._right)
        self.overlap: Values | None = said("overlap", None)
        self.unit: str = said("unit", NATS)
        self.recognised: Values | None = said("recognised", None)
        self.reading: Values = said("reading", task.nll)
        self.tokens: bool = said("tokens", True)
        self.guess: float | Values | None = said("guess", None)
        self.beyond: float = said("beyond", 1.0)
        self.classed: bool = said("classed", True)
        self.graded: bool = said("graded", False)
        self.values: Mapping[str, Value] = said("values", {})
        self.doubts: Callable[[nn.Module, Sequence[Batch]], list[str]] | None = said("doubts", None)
        self.reading_passes: int = said("reading_passes", 1)
        plain = "recognised" if self.recognised is not None else "perplexity" if self.unit == NATS else "loss"
        plain = plain if self.accuracy is None else "accuracy"
        self.utility: str = said("utility", plain if self.overlap is None else "overlap")
        self.reading_batch: int = said("reading_batch", READ)
        of_nll = self._of_nll if self.unit == NATS else task.nll
        self.odds: Values = said("odds", self._of_logits if self.logits is not None else of_nll)
        """Log-odds of an error of each example, `log((1 - p) / p)`, nats: far below 0 it is known, above 0 not.
        Where the nll is no likelihood there are none, and it is the nll itself."""
        self.score: Values = said("score", self._negative_nll if self.logits is None else self._margin)
        """What a membership attack looks at: high for examples that are known."""

    def classified(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """Logits `[b, classes]` and labels `[b]`; None of a task, or of a batch, that has none."""
        if self.logits is None or answered(batch) is None:
            return None
        return self.logits(model, batch), self.labels(batch)

    def _of_logits(self, model: nn.Module, batch: Batch) -> Tensor:
        assert self.logits is not None
        return log_odds(self.logits(model, batch), self.labels(batch))

    def _right(self, model: nn.Module, batch: Batch) -> Tensor:
        """1 where the largest logit is the label's, 0 elsewhere, NaN where a logit is NaN."""
        assert self.logits is not None
        logits = self.logits(model, batch)
        right = finest(logits.argmax(1) == self.labels(batch))
        return right.masked_fill(logits.isnan().any(1), torch.nan)

    def _of_nll(self, model: nn.Module, batch: Batch) -> Tensor:
        nll = self.task.nll(model, batch).clamp_min(_LEAST)
        return nll + (-torch.expm1(-nll)).log()

    def _margin(self, model: nn.Module, batch: Batch) -> Tensor:
        """`log p_y - log(1 - p_y)`, which keeps the order of examples whose loss is 0 in float32."""
        return -self._of_logits(model, batch)

    def _negative_nll(self, model: nn.Module, batch: Batch) -> Tensor:
        return -self.task.nll(model, batch)


def _classes(batch: Batch) -> Tensor:
    """The labels of a batch that says some.

    Raises:
        ConfigurationError: it says none.
    """
    found = answered(batch)
    classes = None if found is None else as_classes(found[1])
    if classes is None:
        raise ConfigurationError(
            f"A task with logits needs class indices beside the inputs; found {type(batch).__name__}. Give batches "
            "(inputs, labels), or let the task say them: labels(batch) -> [b]."
        )
    return classes
