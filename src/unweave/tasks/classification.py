"""Classification: logits and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unweave.data.batches import Batch, as_classes
from unweave.data.checks import check_labels
from unweave.data.twins import on_host
from unweave.errors import ConfigurationError
from unweave.tasks._base import Owners, Predictions, divergence
from unweave.tasks._calls import OWN, output, parts
from unweave.tasks._doubts import probabilities

_NAME = "classification"


@dataclass(frozen=True)
class Classification:
    """A classifier that gives one class to each example.

    Batches are `(inputs, labels)`, or mappings with one of `labels`, `label`, `targets`, `target`, whose other entries
    the model takes by name (Hugging Face's). Labels are class indices `[b]` or `[b, 1]` of any integer type or bool;
    of two classes they may be floats 0 and 1, too. The model returns logits `[b, classes]`, or an object with
    `.logits`. One logit z of each example, `[b, 1]` or `[b]`, is that of class 1 of two: `p(1) = sigmoid(z)`, the same
    as the two logits 0 and z.

    Unit of the loss: nats. Membership signal: the log-odds of the right class. Contract, if nothing is said: accuracy
    within 1 % of the original's, and "unseen". "unseen": the signal does not tell the forget set from examples that the
    model was never trained on. "retrained": accuracy on the forget set is that of the retrained model.

    Raises:
        ConfigurationError: a batch is of another kind, the output does not fit the labels, or a label is no class.
    """

    def labels(self, batch: Batch) -> Tensor:
        """The class of each example, int64 `[b]`."""
        _, answer = parts(batch, _NAME)
        if (found := as_classes(answer)) is not None:
            return found
        if not isinstance(answer, Tensor):
            raise ConfigurationError(
                f"task {_NAME!r} expects a tensor of class indices [b] as labels; found {type(answer).__name__}, "
                f"{str(answer)[:40]}. Number the classes from 0."
            )
        raise ConfigurationError(
            f"task {_NAME!r} expects class indices [b] as labels; found {tuple(answer.shape)} of {answer.dtype}. "
            f"{_advice(answer)}"
        )

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """The model's scores, `[b, classes]`, in float32 or better; of one logit z they are 0 and z."""
        found, labels = output(model, batch, _NAME), self.labels(batch)
        if found.ndim not in (1, 2) or len(found) != len(labels):
            raise ConfigurationError(
                f"The model must return logits [{len(labels)}, classes] for {len(labels)} labels; it returned "
                f"{tuple(found.shape)}. Wrap it so that its forward returns the logits alone; where each place of an "
                f"input has a class of its own pass task='dense', or else {OWN}."
            )
        if found.ndim == 2 and found.shape[1] > 1:
            return found
        if bool((on_host(labels) > 1).any()):
            raise ConfigurationError(
                f"The model must return logits [{len(labels)}, classes] for labels up to {int(labels.max())}; it "
                f"returned {tuple(found.shape)}, and one logit knows the classes 0 and 1. If it predicts an amount "
                "pass task='regression'.",
                (labels > 1).nonzero()[:, 0].tolist(),
            )
        z = found.flatten()
        return torch.stack([torch.zeros_like(z), z], 1)

    def predictions(self, model: nn.Module, batch: Batch) -> Predictions:
        """One prediction per example."""
        logits, labels = self.logits(model, batch), self.labels(batch)
        check_labels(on_host(labels), logits.shape[-1])
        return Predictions(logits, labels, Owners(len(logits)))

    def nll(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy `-log softmax(logits)[label]` of each example, `[b]`."""
        return self.predictions(model, batch).nll()

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Batch) -> Tensor:
        """`KL(p_reference || p_model)` over the classes, `[b]`; no gradient flows to the reference."""
        with torch.no_grad():
            target = self.predictions(reference, batch).log_p()
        return divergence(target, self.predictions(model, batch))

    def doubts(self, model: nn.Module, batches: Sequence[Batch]) -> list[str]:
        """What does not look right of a model on retain examples: probabilities in the place of logits."""
        found = [output(model, batch, _NAME).detach().cpu() for batch in batches]
        return probabilities([each[:, None] if each.ndim == 1 else each for each in found])


def _advice(labels: Tensor) -> str:
    """What to do with labels that are no class indices, by what they hold."""
    if labels.is_complex():
        return f"They are no whole numbers: give class indices, or pass {OWN}."
    whole = bool((labels == labels.round()).all()) if labels.is_floating_point() else True
    rows = labels.flatten(1) if labels.ndim > 1 else labels[:, None]
    if rows.shape[1] == 1 and whole and bool((labels < 0).any()):
        return "Number the classes from 0: (labels > 0).long() of -1 and 1. If they are amounts pass task='regression'."
    if rows.shape[1] == 1 and whole:
        flat = ".flatten()" if labels.ndim > 1 else ""
        return f"Give them as torch.int64: labels{flat}.long() if they are class indices, or pass task='regression'."
    if rows.shape[1] == 1:
        return "They are no whole numbers: a regression has no classes. For one pass task='regression'."
    if labels.ndim > 2 or not bool(((rows >= 0) & (rows <= 1)).all()):
        dense = " if each place of an input has a class, task='regression' if they are amounts" if whole else ""
        return (
            f"They are several numbers per example: pass task='{'dense' if whole else 'regression'}'{dense}, or "
            f"{OWN} whose nll is one value per example, [b]."
        )
    if whole and bool((rows.sum(1) == 1).all()):
        return "Give them as torch.int64: labels.argmax(1) if they are one-hot, or pass task='multilabel' if not."
    if whole:
        return (
            "They name several classes per example: pass task='multilabel', or task='dense' if each place of an input "
            "has a class."
        )
    return f"They are probabilities: pass {OWN} whose nll is the cross-entropy with them, [b]."
