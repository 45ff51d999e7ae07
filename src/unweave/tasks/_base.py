"""What a modality has to tell the rest of the library: two functions."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from unweave.data.pairs import Batch


class Task(Protocol):
    """Turns a model and a batch into per-example numbers; every loss is built from these two."""

    def nll(self, model: nn.Module, batch: Batch) -> Tensor:
        """Negative log-likelihood of each example, `[b]`, in nats."""
        ...

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Batch) -> Tensor:
        """KL(reference || model) of each example's prediction, `[b]`, in nats, at least 0."""
        ...
