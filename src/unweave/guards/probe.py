"""One pass of the model over a sample: what the guards know of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unweave.contract.metrics import Once
from unweave.data.checks import check_labels
from unweave.errors import ConfigurationError, told
from unweave.execution import bare, device_of, reshard, seeded
from unweave.guards.finding import SAMPLE, Finding
from unweave.modules import evaluating
from unweave.samples import Data, Rows, Sample
from unweave.tasks import Known, Task
from unweave.tasks.language import IGNORED

_KEYS = ("input_ids", "attention_mask", "labels")


@dataclass(frozen=True)
class Labelled:
    """Examples by what is odd about their labels.

    Attributes:
        count: all that were looked at.
        padding: with a label on padding.
        shifted: whose labels are the tokens that come next.
        other: with other labels than their tokens.
    """

    count: int = 0
    padding: int = 0
    shifted: int = 0
    other: int = 0

    def __add__(self, more: Labelled) -> Labelled:
        return Labelled(*(getattr(self, name) + getattr(more, name) for name in self.__dataclass_fields__))

    def findings(self, name: str) -> list[Finding]:
        """What to say of the set of that name."""
        of, mend = f"of {self.count} examples that were looked at", "and -100 outside the answer."
        if 2 * self.shifted > self.count:
            return [
                Finding(
                    f"{name}: the labels of {self.shifted} {of} are the tokens that come next: they are shifted "
                    f"already, and would be shifted again. Give each token itself as its label, {mend}",
                    fatal=True,
                )
            ]
        found = []
        if self.padding:
            found.append(
                Finding(
                    f"{name}: the labels of {self.padding} {of} stand on padding, where attention_mask is 0: the loss "
                    "would depend on the width of the batch. Set them to -100 there.",
                    fatal=True,
                )
            )
        if other := self.shifted + self.other:
            found.append(
                Finding(
                    f"{name}: the labels of {other} {of} are other tokens than input_ids has there. A label is the "
                    f"token itself, {mend} Where others are meant, go on."
                )
            )
        return found


def labelled(batch: Any) -> Labelled:
    """What is odd about the labels of a batch of tokens, and of its alternative answers; of others nothing is known.

    A label on one masked token behind an attended one is the end of a text that is hidden from attention, not padding.
    """
    if not isinstance(batch, Mapping):
        return Labelled()
    ids, mask, labels = (batch.get(key) for key in _KEYS)
    if not (isinstance(ids, Tensor) and isinstance(mask, Tensor) and isinstance(labels, Tensor) and ids.ndim == 2):
        return Labelled()
    if labels.shape != ids.shape:
        return Labelled()
    asked, seen = labels != IGNORED, mask != 0
    padding = asked & ~seen
    padding[:, 1:] &= ~seen[:, :-1]
    differs = (asked & seen & (labels != ids)).any(1)
    shifted = differs & (~asked | (labels == ids.roll(-1, 1)))[:, :-1].all(1)
    counts = (padding.any(1) & ~shifted, shifted, differs & ~shifted)
    return Labelled(len(ids), *(int(each.sum()) for each in counts)) + labelled(batch.get("alternate"))


@dataclass(frozen=True)
class Seen:
    """What a model makes of a sample.

    Attributes:
        loss: -log p of each example, `[n]`, in nats.
        predicted: class of each, `[n]`; None where the task has no classes.
        labels: true class of each, `[n]`; None likewise.
        classes: that the model knows, of an example or of each of its places; 0 likewise.
        tokens: what is odd about the labels of batches of tokens.
        guess: the loss of a model that knows nothing, where the task says it.
        beyond: times the guess, above which a model has collapsed.
        right: share of places or labels whose class is predicted; None where an example has one class, or none.
    """

    loss: Tensor
    predicted: Tensor | None = None
    labels: Tensor | None = None
    classes: int = 0
    tokens: Labelled = field(default_factory=Labelled)
    guess: float | None = None
    beyond: float = 1.0
    right: float | None = None

    @property
    def lost(self) -> bool:
        """Whether the mean loss is beyond that of a model that knows nothing."""
        if self.guess is None or not len(self.loss):
            return False
        return float(self.loss.double().mean()) > self.beyond * self.guess

    @property
    def correct(self) -> int:
        """Sample whose class is predicted."""
        return 0 if self.predicted is None or self.labels is None else int((self.predicted == self.labels).sum())


def sample(task: Task, data: Data, seed: int) -> Sample:
    """The examples that the guards look at."""
    return Sample(data, most=SAMPLE, seed=seed, batch=Known(task).reading_batch)


@torch.no_grad()
def probe(model: nn.Module, task: Task, examples: Sample, seed: int, every: Rows | None = None) -> Seen:
    """One forward pass per example, in evaluation mode; modes and random state are afterwards as they were.

    Args:
        model, task, examples, seed: whose pass, over what, and its randomness.
        every: labels of the whole set that the examples are of; they must be classes of the model.

    Raises:
        ConfigurationError: the model does not run on a batch, its output does not fit the labels, or its loss is not
            per example; `rows` are the set's.
    """
    known = Known(task)
    losses, predicted, labels, classes, tokens = list[Tensor](), list[Tensor](), list[Tensor](), 0, Labelled()
    guesses, rights = list[Tensor](), list[Tensor]()
    for whole, batch in passes(model, examples, seed):
        once = Once(whole)
        weights = next((str(p.dtype).removeprefix("torch.") for p in whole.parameters()), "no")
        what = f"the model ({weights} weights) cannot run on batch {len(losses) + 1} ({_shapes(batch)})"
        rows = examples.rows[sum(map(len, losses)) :]
        with _at(rows), told(what, "Check that inputs have the shape and the type that it was trained on."):
            if (found := known.classified(once, batch)) is not None:
                logits, right = found
                classes = logits.shape[1]
                if every is not None and not losses:
                    check_labels(every, classes)
                predicted.append(logits.argmax(1).cpu())
                labels.append(right.cpu())
            elif known.predictions is not None and (callable(known.guess) or not classes):
                each = known.predictions(once, batch)
                classes = each.logits.shape[1]
                rights.append((each.logits.argmax(1) == each.targets).cpu().double())
            loss = task.nll(once, batch)
            if not isinstance(loss, Tensor) or loss.ndim != 1:
                shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                raise ConfigurationError(
                    f"A task's nll must return one value per example, [b]; it returned {shape}. "
                    "Do not reduce over the batch."
                )
            losses.append(loss.cpu())
            if callable(known.guess):
                guesses.append(known.guess(once, batch).cpu().double())
            tokens += labelled(batch) if known.tokens else Labelled()
    every_loss = torch.cat(losses) if losses else torch.zeros(0)
    if not predicted:
        guess = float(torch.cat(guesses).mean()) if guesses else None if callable(known.guess) else known.guess
        share = float(torch.cat(rights).mean()) if rights else None
        return Seen(every_loss, classes=classes, tokens=tokens, guess=guess, beyond=known.beyond, right=share)
    return Seen(every_loss, torch.cat(predicted), torch.cat(labels), classes)


@contextmanager
def _at(rows: Rows) -> Iterator[None]:
    """Faults of a batch are of these rows of its set."""
    try:
        yield
    except ConfigurationError as error:
        error.rows = [int(rows[row]) for row in error.rows]
        raise


def probed(model: nn.Module, task: Task, forget: Data, retain: Data, seed: int = 0) -> dict[str, Seen]:
    """What a model makes of both sides: one pass over 500 examples of each at most."""
    return {
        name: probe(model, task, sample(task, data, seed), seed)
        for name, data in (("forget", forget), ("retain", retain))
    }


def _shapes(batch: Any) -> str:
    named = batch.items() if isinstance(batch, Mapping) else enumerate(batch) if isinstance(batch, Sequence) else []
    found = [(name, list(p.shape), str(p.dtype).removeprefix("torch.")) for name, p in named if isinstance(p, Tensor)]
    return ", ".join(f"{name}: {shape} {kind}" for name, shape, kind in found) or "no tensors"


def passes(model: nn.Module, examples: Sample, seed: int) -> Iterator[tuple[nn.Module, Any]]:
    """The bare model and every batch on its device, in evaluation mode and with a randomness of their own."""
    whole = bare(model)
    with evaluating(whole), seeded(seed):
        for batch in examples.batches(device_of(whole)):
            yield whole, batch
    reshard(model)
