"""Ascent that weighs each token by how likely it is: WGA, SatImp; and CE-U, which aims past the right token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unweave.arguments import check_fields
from unweave.errors import ConfigurationError
from unweave.losses._base import Batch, language, predictor
from unweave.tasks import Task, cross_entropy


@dataclass(frozen=True)
class WGA:
    """Weighted gradient ascent, `-p_t^beta l_t` on each token, the weight held constant.

    A token that is forgotten already, `p_t` near 0, no longer counts. beta = 0 is ascent.

    Args:
        task: one with `predictions`; the tokens of an answer are reduced as it says.
        beta: the power.

    Wang et al., ICLR 2025 (arXiv:2502.19301).
    """

    task: Task
    beta: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        predictor(self.task, "WGA")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        seen = predictor(self.task, "WGA").predictions(model, batch)
        nll = seen.nll()
        return -seen.owners.reduced((-self.beta * nll.detach()).exp() * nll)


@dataclass(frozen=True)
class SatImp:
    """Ascent on what is neither forgotten nor certain, `-p_t^beta1 (1 - p_t)^beta2 l_t`, the weight held constant.

    Args:
        task: one with `predictions`.
        beta1: power of the probability (saturation).
        beta2: power of its complement (importance).

    Yang et al., ICML 2025 (arXiv:2505.11953); defaults are open-unlearning's.
    """

    task: Task
    beta1: float = 5.0
    beta2: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        predictor(self.task, "SatImp")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        seen = predictor(self.task, "SatImp").predictions(model, batch)
        nll = seen.nll()
        fixed = nll.detach()
        weight = (-self.beta1 * fixed).exp() * (-torch.expm1(-fixed)) ** self.beta2
        return -seen.owners.reduced(weight * nll)


@dataclass(frozen=True)
class CEU:
    """CE-U: cross-entropy with the model's own prediction, the right token struck out, `H(q, p)`.

    `q = softmax(z with z_y = -inf)`, held constant. Its gradient on the logits is `p - q`, bounded where ascent's is
    not. The first tokens of an answer, which say that there is one, are left alone.

    Args:
        task: `tasks.Language()`.
        skip: how many of them.

    Raises:
        ConfigurationError: an answer has no other tokens.

    Yang, arXiv:2503.01224.
    """

    task: Task
    skip: int = 1

    def __post_init__(self) -> None:
        check_fields(self, skip="[0, inf)")
        language(self.task, "CE-U")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        later = dict(batch)
        labels = batch["labels"]
        seen_before = (labels != -100).cumsum(1)
        later["labels"] = labels.masked_fill(seen_before <= self.skip, -100)
        if not bool((later["labels"][:, 1:] != -100).any(1).all()):
            raise ConfigurationError(f"CE-U leaves {self.skip} tokens of each answer alone; one has no others.")
        seen = language(self.task, "CE-U").predictions(model, later)
        with torch.no_grad():
            target = seen.logits.scatter(-1, seen.targets[:, None], float("-inf")).softmax(-1)
        return seen.owners.reduced(cross_entropy(target, seen.logits.log_softmax(-1)))
