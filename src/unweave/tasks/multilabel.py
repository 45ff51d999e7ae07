"""Multi-label classification: each example has any number of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unweave.data.batches import Batch, whole
from unweave.data.twins import on_host, places
from unweave.devices import finest
from unweave.errors import ConfigurationError
from unweave.tasks._base import Owners, Predictions, Value, divergences
from unweave.tasks._calls import OWN, output, parts
from unweave.tasks._doubts import held, no_better, probabilities

_NAME = "multilabel"


@dataclass(frozen=True)
class MultiLabel:
    """A classifier of which every label is a yes-or-no question of its own: `p_k = sigmoid(z_k)`.

    Batches are `(inputs, labels)`, or mappings as for `Classification`; labels `[b, k]` are 0 and 1 of any type, the
    logits `[b, k]`. A label of -100 is not known and does not count. The loss of an example is the sum of its labels'
    binary cross-entropies, its negative log-likelihood if they are independent given the input. To a loss that looks at
    predictions (random labels, flattening) a label is a choice between the two logits 0 and z.

    Unit of the loss: nats. Accuracy: the Jaccard index `|Y and Z| / |Y or Z|` of the labels that are right, Y, and
    those above 1/2, Z; 1 where both are empty (Godbole and Sarawagi, 2004). Membership signal: minus the loss.
    Contract, if nothing is said: accuracy within 1 % of the original's, and "unseen": the signal does not tell the
    forget set from examples that the model was never trained on. "retrained": accuracy on the forget set is that of the
    retrained model.

    Raises:
        ConfigurationError: labels are no 0 and 1, an example has none, or the logits have another shape.
    """

    IGNORED: ClassVar[int] = -100
    beyond: ClassVar[float] = 10.0
    classed: ClassVar[bool] = False
    graded: ClassVar[bool] = True

    def answers(self, batch: Batch, classes: int) -> None:
        """Refuses labels that are no 0 and 1, and examples of which none is known."""
        _labels(batch)

    def predictions(self, model: nn.Module, batch: Batch) -> Predictions:
        """One prediction for each label of each example, those of the first example first."""
        logits, labels = _read(model, batch)
        known = places(on_host(labels) != self.IGNORED, logits.device)
        z = logits[known]
        return Predictions(
            torch.stack([torch.zeros_like(z), z], 1), labels[known], Owners(len(labels), known[0], "sum")
        )

    def nll(self, model: nn.Module, batch: Batch) -> Tensor:
        """The sum of the binary cross-entropies of each example's labels, `[b]`."""
        seen = self.predictions(model, batch)
        return seen.owners.reduced(seen.nll())

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Batch) -> Tensor:
        """The sum of `KL(p_reference || p_model)` over the labels, `[b]`; no gradient flows to the reference."""
        return divergences(self, model, reference, batch)

    def accuracy(self, model: nn.Module, batch: Batch) -> Tensor:
        """The Jaccard index of each example, `[b]`."""
        logits, labels = _read(model, batch)
        known, said = labels != self.IGNORED, logits > 0
        both = finest((said & (labels == 1)).sum(1))
        either = finest(((said | (labels == 1)) & known).sum(1))
        index = torch.where(either > 0, both / either.clamp(min=1), 1.0)
        return index.masked_fill(logits.isnan().any(1), torch.nan)

    def exact_match(self, model: nn.Module, batch: Batch) -> Tensor:
        """1 where every label is right, `[b]`."""
        return finest(self.labels_right(model, batch) == 1)

    def labels_right(self, model: nn.Module, batch: Batch) -> Tensor:
        """The share of its labels that are right, `[b]`: 1 minus the Hamming loss."""
        seen = self.predictions(model, batch)
        return seen.owners.mean(finest(seen.logits.argmax(1) == seen.targets))

    @property
    def values(self) -> Mapping[str, Value]:
        """What is scored beside the loss."""
        return {
            "accuracy": Value(self.accuracy, "mean Jaccard index of right and predicted labels", higher=True),
            "labels_right": Value(self.labels_right, "mean share of an example's labels that are right", higher=True),
            "exact_match": Value(self.exact_match, "share of examples with every label right", higher=True),
        }

    def guess(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a model that knows nothing, `log 2` for each label, `[b]`."""
        seen = self.predictions(model, batch)
        return seen.owners.reduced(torch.full_like(seen.nll(), 2.0).log())

    def doubts(self, model: nn.Module, batches: Sequence[Batch]) -> list[str]:
        """What does not look right on retain examples: probabilities for logits, or no better than a constant."""
        pairs = [[each.detach().cpu() for each in _read(model, batch)] for batch in batches]
        if told := probabilities([logits.flatten()[:, None] for logits, _ in pairs]):
            return told
        labels = torch.cat([each for _, each in pairs])
        known = labels != self.IGNORED
        most = (labels.masked_fill(~known, 0).sum(0) * 2 > known.sum(0)).long().expand_as(labels)
        guess = ((most == labels) & known).sum(1) / known.sum(1)
        right = held([self.labels_right(model, batch) for batch in batches])
        return no_better(right, guess, "{:.3g} of an example's labels are right, {:.3g} with the most frequent of each")


def _labels(batch: Batch) -> Tensor:
    """Labels `[b, k]`.

    Raises:
        ConfigurationError: they are no such labels.
    """
    _, labels = parts(batch, _NAME)
    if not isinstance(labels, Tensor) or labels.ndim != 2 or labels.is_complex():
        what = f"{list(labels.shape)} of {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
        raise ConfigurationError(
            f"task {_NAME!r} expects labels [b, k] of 0 and 1, one column for each label; found {what}. If each "
            "example has one class pass task='classification'."
        )
    values = on_host(labels)
    known = values != MultiLabel.IGNORED
    other = known & (values != 0) & (values != 1)
    if bool(other.any()):
        odd = values[other][0].item()
        raise ConfigurationError(
            f"task {_NAME!r} expects labels that are 0 or 1, or {MultiLabel.IGNORED} where nothing is known; found "
            f"{odd:g}. For amounts pass task='regression', for probabilities {OWN}.",
            other.any(1).nonzero()[:, 0].tolist(),
        )
    if not bool(known.any(1).all()):
        raise ConfigurationError(
            f"every example needs a label that is known; found none in {int((~known.any(1)).sum())} of {len(labels)}: "
            "take them out.",
            (~known.any(1)).nonzero()[:, 0].tolist(),
        )
    return labels


def _read(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits and labels, both `[b, k]`, labels in int64.

    Raises:
        ConfigurationError: they are no such labels, or the logits have another shape.
    """
    labels, logits = _labels(batch), output(model, batch, _NAME)
    if logits.shape != labels.shape:
        raise ConfigurationError(
            f"The model must return one logit for each label, {list(labels.shape)}; it returned {list(logits.shape)}."
            f" If it has several for each pass {OWN}."
        )
    return logits, whole(labels)
