"""Preference losses on whole answers: NPO, SimNPO, and DPO, of which IdkDPO and AltPO are uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from unweave.arguments import check_fields
from unweave.errors import ConfigurationError
from unweave.losses._base import Batch, predictor
from unweave.losses.original import Reference, Remembered, logprob, logprob_before
from unweave.tasks import Task


@dataclass(frozen=True)
class NPO:
    """Negative preference: `-(2/beta) log sigmoid(-beta (log p(y) - log p_0(y)))`, answers as a whole.

    As beta goes to 0 it is ascent, up to a constant; where an answer has become much less likely than it was, its
    gradient vanishes, which is what keeps NPO from running away.

    Args:
        task: one with `predictions`; log-probabilities are sums over the answer's tokens.
        reference: the original model, what stands for it, or what it said (`remember`).
        beta: inverse temperature.

    Zhang et al., COLM 2024 (arXiv:2404.05868).
    """

    task: Task
    reference: Reference
    beta: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self, beta="(0, inf)")
        predictor(self.task, "NPO")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        before = logprob_before(self.task, self.reference, model, batch)
        return -2 / self.beta * F.logsigmoid(-self.beta * (logprob(self.task, model, batch) - before))


@dataclass(frozen=True)
class SimNPO:
    """NPO without the original model: `-(2/beta) log sigmoid(beta (nll / T - delta))`, T the answer's tokens.

    Args:
        task: one with `predictions`.
        beta: inverse temperature.
        delta: the margin, in nats per token.

    Fan et al., NeurIPS 2025 (arXiv:2410.07163); its gamma is `beta delta`.
    """

    task: Task
    beta: float = 4.5
    delta: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, beta="(0, inf)")
        predictor(self.task, "SimNPO")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        seen = predictor(self.task, "SimNPO").predictions(model, batch)
        return -2 / self.beta * F.logsigmoid(self.beta * (seen.owners.mean(seen.nll()) - self.delta))


@dataclass(frozen=True)
class DPO:
    """Prefers another answer: `-(2/beta) log sigmoid(beta ([log p - log p_0](y') - [log p - log p_0](y)))`.

    With a refusal as y' it is TOFU's IdkDPO; with an answer that the model itself might give, AltPO's loss.

    Args:
        task: one with `predictions`.
        reference: the original model, what stands for it, or what it said of both answers (`remember`).
        beta: inverse temperature.

    Rafailov et al., NeurIPS 2023 (arXiv:2305.18290); the factor 2 is open-unlearning's, as in NPO. Differs from its
    code: each row keeps the refusal that it drew, so that what the original said of it can be remembered.
    """

    task: Task
    reference: Reference
    beta: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self, beta="(0, inf)")
        predictor(self.task, "DPO")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`; the batch's "alternate" holds the other answers."""
        self.check(batch)
        other = self.reference
        if isinstance(other, Remembered):
            if other.alternate is None:
                raise ConfigurationError("the alternative answers were not remembered: remember rows that have them.")
            other = other.alternate
        wanted = self._gain(model, other, batch["alternate"])
        return -2 / self.beta * F.logsigmoid(self.beta * (wanted - self._gain(model, self.reference, batch)))

    @staticmethod
    def check(batch: Batch) -> None:
        """Refuses a batch without other answers."""
        if not (isinstance(batch, Mapping) and "alternate" in batch):
            raise ConfigurationError(
                "DPO compares each answer with another one: make the forget rows with tokenised(..., "
                "alternates=[...]), refusals or one answer per text (in a recipe: data.refusals, one a line). "
                "Where there are no texts choose another method."
            )

    def _gain(self, model: nn.Module, reference: Reference, batch: Batch) -> Tensor:
        before = logprob_before(self.task, reference, model, batch)
        return logprob(self.task, model, batch) - before
