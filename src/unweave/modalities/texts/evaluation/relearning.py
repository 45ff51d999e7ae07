"""How much comes back when a few of the forgotten rows are learned again: scored on the others.

Knowledge that was only hidden returns with rows that do not hold it; a model that never knew it learns no more from
them than what they share. So the number means something beside that of a retrained model only. Deeb and Roger, Do
unlearning methods remove information from language model weights? arXiv:2410.08827.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unweave.arguments import SEEDS, fault
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.execution import bare
from unweave.modalities.texts.evaluation.examples import Example
from unweave.modalities.texts.evaluation.forward import batch_of
from unweave.modules import evaluating
from unweave.tasks import Language


@dataclass(frozen=True)
class Relearning:
    """Fine-tuning on a few rows with AdamW, without weight decay or dropout.

    Args:
        rows: how many are learned, at most half of the forget set.
        steps: optimizer steps.
        lr: learning rate; the default is the one that TOFU's models were fine-tuned with.
        batch: rows in a step.
        seed: of which rows, and in which order.

    Raises:
        ConfigurationError: numbers out of range, all of them at once.
    """

    rows: int = 20
    steps: int = 20
    lr: float = 1e-5
    batch: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = {"rows": self.rows, "steps": self.steps, "lr": self.lr, "batch": self.batch}
        faults = [f"relearning: {name} must be above 0, found {n}" for name, n in numbers.items() if not n > 0]
        faults += [f"relearning: {text}" for text in [fault("seed", self.seed, int, SEEDS)] if text]
        if faults:
            raise ConfigurationError(faults)

    def split(self, examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
        """What is learned again, and what is scored.

        Raises:
            ConfigurationError: fewer than two examples.
        """
        if len(examples) < 2:
            raise ConfigurationError(f"relearning needs 2 forget examples at least, found {len(examples)}")
        drawn = torch.randperm(len(examples), generator=torch.Generator().manual_seed(self.seed)).tolist()
        chosen = set(drawn[: min(self.rows, len(examples) // 2)])
        return [examples[i] for i in sorted(chosen)], [e for i, e in enumerate(examples) if i not in chosen]


@contextmanager
def relearned(model: nn.Module, learned: Sequence[Example], how: Relearning) -> Iterator[None]:
    """Inside, the model has been fine-tuned on these examples; outside, it has its own weights again, to the bit.

    The parameters that require a gradient are trained, in float32 whatever their type; their `.grad` is left alone.

    Raises:
        UnsupportedError: all parameters are frozen.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights:
        raise UnsupportedError("Relearning needs parameters with requires_grad; all of this model's are frozen.")
    before = [p.detach().clone() for p in weights]
    try:
        with evaluating(model), torch.enable_grad():
            _train(model, weights, learned, how)
        yield
    finally:
        _set(weights, before)


def _train(model: nn.Module, weights: Sequence[Tensor], learned: Sequence[Example], how: Relearning) -> None:
    masters = [p.detach().float().clone() for p in weights]  # bf16 would swallow small steps
    optimizer = torch.optim.AdamW(masters, lr=how.lr, weight_decay=0.0)
    task, own, device = Language(), bare(model), weights[0].device
    for batch in _batches(learned, how):
        loss = task.nll(own, batch_of([e.answer for e in batch], device)).mean()
        gradients = torch.autograd.grad(loss, list(weights), allow_unused=True)
        for master, gradient in zip(masters, gradients, strict=True):
            master.grad = None if gradient is None else gradient.float()
        optimizer.step()
        _set(weights, masters)


def _batches(learned: Sequence[Example], how: Relearning) -> Iterator[list[Example]]:
    """`steps` batches; every example comes once before one comes again."""
    generator = torch.Generator().manual_seed(how.seed)
    order: list[int] = []
    for _ in range(how.steps):
        while len(order) < how.batch:
            order += torch.randperm(len(learned), generator=generator).tolist()
        yield [learned[i] for i in order[: how.batch]]
        order = order[how.batch :]


@torch.no_grad()
def _set(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for p, value in zip(weights, values, strict=True):
        p.copy_(value)
