"""Divergence from a frozen model: KL, SCRUB and the bad teacher."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unweave.errors import ConfigurationError
from unweave.losses._base import Batch, classifier
from unweave.tasks import Task


@dataclass(frozen=True)
class Divergence:
    """`T^2 KL(p_reference^(1/T) || p_model^(1/T))` of each example's prediction.

    With the original model as reference it holds the retain side; `Ascent(Divergence(task, original))` is
    SCRUB's forget side; with an incompetent reference it is the bad teacher's. The reference never trains.

    Args:
        task: its `divergence` answers at temperature 1; any other temperature needs its `logits`.
        reference: a frozen model, see `frozen`.
        temperature: softens both predictions; `T^2` keeps the gradient's size (Hinton et al.,
            arXiv:1503.02531).

    Raises:
        ConfigurationError: the reference could still train, or the temperature is not positive.
    """

    task: Task
    reference: nn.Module
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not is_frozen(self.reference):
            raise ConfigurationError(
                "The reference model must be frozen and in eval mode; this one could change while the model "
                "unlearns. Pass losses.frozen(model)."
            )
        if self.temperature <= 0:
            raise ConfigurationError(f"temperature must be positive; found {self.temperature}.")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The divergence of each example, `[b]`, in nats, at least 0."""
        if self.temperature == 1.0:
            return self.task.divergence(model, self.reference, batch)
        task, t = classifier(self.task, f"temperature={self.temperature}"), self.temperature
        with torch.no_grad():
            target = (task.logits(self.reference, batch) / t).log_softmax(-1)
        predicted = (task.logits(model, batch) / t).log_softmax(-1)
        return t**2 * F.kl_div(predicted, target, reduction="none", log_target=True).sum(-1)


def is_frozen(model: nn.Module) -> bool:
    """Whether no parameter of the model can receive a gradient and every module is in eval mode."""
    trains = any(p.requires_grad for p in model.parameters()) or any(m.training for m in model.modules())
    return not trains


def frozen(model: nn.Module) -> nn.Module:
    """A copy of the model that never trains, or the model itself if it is one."""
    return model if is_frozen(model) else copy.deepcopy(model).eval().requires_grad_(False)


def incompetent(model: nn.Module, seed: int = 0) -> nn.Module:
    """A frozen copy of the model that knows nothing: every weight is drawn anew.

    A module with `reset_parameters` uses it; other modules' own tensors keep their mean and spread. The
    global random state is left as it was.
    """
    teacher = copy.deepcopy(model)
    with torch.random.fork_rng(range(torch.cuda.device_count())), torch.no_grad():
        torch.manual_seed(seed)
        for module in teacher.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
                continue
            for parameter in module.parameters(recurse=False):
                parameter.copy_(torch.randn_like(parameter) * parameter.std(correction=0) + parameter.mean())
    return frozen(teacher)
