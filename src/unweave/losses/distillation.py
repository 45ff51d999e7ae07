"""Divergence from the original model, or from what it would say otherwise: KL, SCRUB, the bad teacher, UNDIAL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from unweave import devices
from unweave.arguments import SEEDS, check_fields, check_value
from unweave.errors import ConfigurationError
from unweave.losses._base import Batch, language, predictor
from unweave.losses.original import Reference, frozen, is_frozen, standing
from unweave.modules import copied
from unweave.sharded import own_whole
from unweave.tasks import Task, cross_entropy, divergence, kl


@dataclass(frozen=True)
class Divergence:
    """`T^2 KL(p_reference^(1/T) || p_model^(1/T))` of each example's prediction.

    With the original model as reference it holds the retain side; `Ascent(Divergence(task, original))` is
    SCRUB's forget side; with an incompetent reference it is the bad teacher's. The reference never trains.

    Args:
        task: its `divergence` answers at temperature 1; any other temperature needs its `predictions`.
        reference: a frozen model, or what stands for one (`reference`).
        temperature: softens both predictions; `T^2` keeps the gradient's size (Hinton et al.,
            arXiv:1503.02531).

    Raises:
        ConfigurationError: the reference could still train, or the temperature is not positive.
    """

    task: Task
    reference: Reference
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.reference, nn.Module) and not is_frozen(self.reference):
            raise ConfigurationError(
                "The reference model must be frozen and in eval mode; this one could change while the model "
                "unlearns. Pass losses.frozen(model)."
            )
        check_fields(self, temperature="(0, inf)")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The divergence of each example, `[b]`, in nats, at least 0."""
        with standing(self.reference, model) as reference:
            if self.temperature == 1.0:
                return self.task.divergence(model, reference, batch)
            task = predictor(self.task, f"temperature={self.temperature}")
            with torch.no_grad():
                target = task.predictions(reference, batch).log_p(self.temperature)
        seen = task.predictions(model, batch)
        return seen.owners.reduced(divergence(target, seen, self.temperature))


@dataclass(frozen=True)
class Undial:
    """UNDIAL: cross-entropy with the original's prediction, its logit of the right token lowered by `beta`.

    `-sum_v softmax(z_0 - beta 1[v = y_t])_v log p(v)`, reduced over the answer's tokens as the task says.

    Args:
        task: one with `predictions`.
        reference: the original model, or what stands for it.
        beta: how much lower, in nats.
        compat: "open-unlearning" repeats two faults of that code, which make the strength depend on prompts and
            padding: the mean is over all positions of the padded batch, and where nothing is to be predicted the
            logit of token V - 100 is lowered.

    Dong et al., NAACL 2025 (arXiv:2402.10052).
    """

    task: Task
    reference: Reference
    beta: float = 10.0
    compat: Literal["open-unlearning"] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        predictor(self.task, "UNDIAL")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The cross-entropy of each example, `[b]`."""
        if self.compat is not None:
            task = language(self.task, "compat='open-unlearning'")
            with torch.no_grad(), standing(self.reference, model) as before:
                logits = task.everywhere(before, batch)[0][:, :-1]
            own, labels = task.everywhere(model, batch)
            targets = torch.where(labels < 0, labels + logits.shape[-1], labels)[:, 1:]
            return self._each(own[:, :-1], logits, targets).mean(1)
        task_ = predictor(self.task, "UNDIAL")
        with torch.no_grad(), standing(self.reference, model) as before:
            logits = task_.predictions(before, batch).logits
        seen = task_.predictions(model, batch)
        return seen.owners.reduced(self._each(seen.logits, logits, seen.targets))

    def _each(self, own: Tensor, before: Tensor, targets: Tensor) -> Tensor:
        lowered = before.scatter_add(-1, targets[..., None], before.new_full((*targets.shape, 1), -self.beta))
        return cross_entropy(lowered.softmax(-1), own.log_softmax(-1))


@dataclass(frozen=True)
class DivergenceEverywhere:
    """KL(p_original || p) as open-unlearning computes it: the mean over all positions, prompt and padding included.

    Its weight beside the forget loss therefore changes with the padding. `Divergence` looks at the answer alone.

    Args:
        task: `tasks.Language()`.
        reference: the original model, or what stands for it.
    """

    task: Task
    reference: Reference

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        task = language(self.task, "compat='open-unlearning'")
        with torch.no_grad(), standing(self.reference, model) as original:
            before = task.everywhere(original, batch)[0].log_softmax(-1)
        own = task.everywhere(model, batch)[0].log_softmax(-1)
        return kl(before, own).mean(1)


def incompetent(model: nn.Module, seed: int = 0) -> nn.Module:
    """A frozen copy of the model that knows nothing: every weight is drawn anew.

    A module with `reset_parameters` uses it; other modules' own tensors keep their mean and spread. The
    global random state is left as it was.

    Raises:
        ConfigurationError: the seed is none that torch takes.
    """
    check_value("seed", seed, int, SEEDS)
    teacher = copied(model)
    with devices.seeded(seed), torch.no_grad():
        for module in teacher.modules():
            with own_whole(module):
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
                    continue
                for parameter in module.parameters(recurse=False):
                    parameter.copy_(torch.randn_like(parameter) * parameter.std(correction=0) + parameter.mean())
    return frozen(teacher)
