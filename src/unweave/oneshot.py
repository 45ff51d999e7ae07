"""Methods without steps: one pass over the data, one change of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from unweave.errors import ConfigurationError
from unweave.parameters import batch_gradients
from unweave.tasks import Task

PAPERS = {"ssd": "Foster et al., AAAI 2024, arXiv:2308.07707"}


@dataclass(frozen=True)
class Dampened:
    """What `ssd` changed.

    Attributes:
        changed: number of dampened entries of each parameter, by name; parameters without any are left out.
        total: number of entries that could have been.
    """

    changed: dict[str, int]
    total: int

    @property
    def share(self) -> float:
        """The dampened part of all entries, in [0, 1]."""
        return sum(self.changed.values()) / self.total


def ssd(
    model: nn.Module,
    task: Task,
    forget: Dataset[Any] | Iterable[Any],
    retain: Dataset[Any] | Iterable[Any],
    *,
    selection: float = 10.0,
    dampening: float = 1.0,
    batch: int = 64,
) -> Dampened:
    """Shrinks, in place, the weights that matter much more to the forget set than to the retain set.

    `theta_i <- min(lambda I_r,i / I_f,i, 1) theta_i`  where  `I_f,i > alpha I_r,i`, with the importance `I_i
    = mean over batches of (d nll / d theta_i)^2`, the squared gradient of each batch's mean nll, in eval
    mode, batches weighted by their size. Only parameters with `requires_grad` are touched.

    Args:
        model: changed in place.
        task: its `nll` is differentiated.
        forget: a torch Dataset, or batches.
        retain: the same; batches must be as large as forget's, or the two importances are not comparable.
        selection: alpha, how much more a weight must matter to the forget set. Larger dampens fewer weights.
        dampening: lambda, how much of a selected weight is left. Smaller dampens more.
        batch: examples in a batch where a Dataset is given.

    Raises:
        ConfigurationError: alpha or lambda is not positive, all parameters are frozen, or a set is empty.

    Foster et al., "Fast machine unlearning without retraining through selective synaptic dampening", AAAI
    2024 (arXiv:2308.07707), equations 8 to 10; alpha = 10 and lambda = 1 are the paper's for ResNet-18.
    Differs from the
    paper: it takes the second importance over the whole training set, forget set included.
    """
    values = {"selection": selection, "dampening": dampening}
    faults = [f"{name} must be positive; found {value}." for name, value in values.items() if value <= 0]
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if not named:
        faults.append("All parameters are frozen: nothing can be dampened. Set requires_grad_(True) on some.")
    if faults:
        raise ConfigurationError(faults)
    parameters = [p for _, p in named]
    forgotten = _importance(model, task, _batches(forget, batch), parameters)
    retained = _importance(model, task, _batches(retain, batch), parameters)
    changed = {}
    for (name, parameter), f, r in zip(named, forgotten, retained, strict=True):
        if count := _dampen(parameter, f, r, selection, dampening):
            changed[name] = count
    return Dampened(changed, sum(p.numel() for p in parameters))


def _importance(
    model: nn.Module, task: Task, batches: Iterable[Any], parameters: Sequence[nn.Parameter]
) -> list[Tensor]:
    total, examples = [torch.zeros_like(p) for p in parameters], 0
    for gradients, count in batch_gradients(model, task.nll, batches, parameters):
        torch._foreach_addcmul_(total, gradients, gradients, value=1 / count)  # count * (gradient / count)^2
        examples += count
    return [t / examples for t in total]


@torch.no_grad()
def _dampen(parameter: Tensor, forget: Tensor, retain: Tensor, selection: float, dampening: float) -> int:
    selected = forget > selection * retain
    factor = (dampening * retain / forget).clamp(max=1.0)
    parameter.mul_(torch.where(selected, factor, 1.0))
    return int((selected & (factor < 1)).sum())


def _batches(data: Dataset[Any] | Iterable[Any], size: int) -> Iterable[Any]:
    return DataLoader(data, batch_size=size) if isinstance(data, Dataset) else data


ONESHOT: dict[str, Callable[..., Dampened]] = {"ssd": ssd}
