"""Classification: logits and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unweave.data.batches import as_int64
from unweave.data.checks import check_labels
from unweave.data.pairs import Batch
from unweave.errors import ConfigurationError
from unweave.tasks._base import Owners, Predictions, divergence

_ONE = (
    "A binary classifier with a sigmoid is one of two classes whose logits are 0 and z: wrap it so that its forward "
    "returns torch.stack([torch.zeros_like(z), z], 1) of its logits z [b]; a regression needs a Task of your own."
)


@dataclass(frozen=True)
class Classification:
    """A classifier over batches `(inputs [b, ...], labels [b])`; labels are class indices of any integer type or bool.

    Raises:
        ConfigurationError: a batch is not such a pair, the output does not fit the labels, or a label is no class.
    """

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """The model's scores, `[b, classes]`, in float32 or better."""
        inputs, labels = self._split(batch)
        logits = model(inputs)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(labels):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            single = isinstance(logits, Tensor) and logits.shape == labels.shape
            raise ConfigurationError(
                f"The model must return logits [{len(labels)}, classes] for {len(labels)} labels; it returned {found}. "
                + (
                    _ONE
                    if single
                    else "Wrap it so that its forward returns the logits alone, or pass a Task of your own."
                )
            )
        if logits.shape[1] == 1:
            raise ConfigurationError(f"The model must return one logit per class; it returned one per example. {_ONE}")
        if logits.is_complex():
            raise ConfigurationError(
                f"The model must return real logits; it returned {logits.dtype}. Wrap it so that its forward returns "
                "their modulus or real part, or pass a Task of your own."
            )
        return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits

    def predictions(self, model: nn.Module, batch: Batch) -> Predictions:
        """One prediction per example."""
        logits = self.logits(model, batch)
        labels = as_int64(batch[1])
        check_labels(labels.cpu(), logits.shape[-1])
        return Predictions(logits, labels, Owners(len(logits)))

    def nll(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy `-log softmax(logits)[label]` of each example, `[b]`."""
        return self.predictions(model, batch).nll()

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Batch) -> Tensor:
        """`KL(p_reference || p_model)` over the classes, `[b]`; no gradient flows to the reference."""
        with torch.no_grad():
            target = self.predictions(reference, batch).log_p()
        return divergence(target, self.predictions(model, batch))

    def _split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            found = type(batch).__name__
            if isinstance(batch, Mapping):
                found += f" with the keys {', '.join(map(str, batch))}"
            elif isinstance(batch, (tuple, list)):
                found += f" of {len(batch)} parts"
            raise ConfigurationError(
                f"task 'vision' reads batches (inputs, labels); this data set gives {found}. Let its items (or the "
                "loader's collate_fn) be such pairs, or pass a Task of your own."
            )
        inputs, labels = batch
        if not isinstance(labels, Tensor):
            raise ConfigurationError(
                f"task 'vision' expects a tensor of class indices [b] as labels; found {type(labels).__name__}, "
                f"{str(labels)[:40]}. Number the classes from 0."
            )
        if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
            raise ConfigurationError(
                f"task 'vision' expects class indices [b] as labels; found {tuple(labels.shape)} of {labels.dtype}. "
                f"{_advice(labels)}"
            )
        return inputs, labels


def _advice(labels: Tensor) -> str:
    """What to do with labels that are no class indices, by what they hold."""
    whole = bool((labels == labels.real.round()).all()) if labels.is_floating_point() else not labels.is_complex()
    rows = labels.flatten(1) if labels.ndim > 1 else labels[:, None]
    if rows.shape[1] == 1 and whole:
        flat = ".flatten()" if labels.ndim > 1 else ""
        return f"Give them as torch.int64: labels{flat}.long() if they are class indices."
    own = "pass a Task of your own whose nll is"
    if rows.shape[1] == 1:
        return (
            f"They are no whole numbers: a regression has no classes. For one, {own} each example's squared error, [b]."
        )
    if labels.ndim > 2 or not bool(((rows >= 0) & (rows <= 1)).all()):
        return f"They are several numbers per example: {own} one value per example, [b]."
    if whole and bool((rows.sum(1) == 1).all()):
        return "Give them as torch.int64: labels.argmax(1) if they are one-hot."
    loss = "binary cross-entropy summed over the classes" if whole else "cross-entropy with these probabilities"
    return f"They name several classes per example: {own} its {loss}, [b]."
