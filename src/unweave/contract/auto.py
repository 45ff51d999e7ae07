"""What a contract leaves, for rules whose hyperparameter is "auto"."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from unweave.contract.judge import Limit
from unweave.rules._base import Left

NATS = 0.02  # where no clause is in nats: what the trust region tolerates on top of its share of the starting loss


def nats(limits: Iterable[Limit]) -> float:
    """The whole budget as a rise of the retain loss: the least of the clauses on loss and perplexity."""
    return min((limit.judged for limit in limits if limit.clause.metric in ("loss", "perplexity")), default=NATS)


def left(
    limits: Iterable[Limit], share: float, steps: int, lr: float, predicted: Tensor | None, realised: Tensor | None
) -> Left:
    """What is left after a step.

    Args:
        limits: the keep clauses.
        share: of the budget that the last kept state leaves, in [0, 1].
        steps: of the run that are left.
        lr: length of the step per unit of direction.
        predicted: change of both objectives by the step, `[2]`.
        realised: the same as it was.
    """
    return Left(share, share * nats(limits), max(steps, 1), lr, predicted, realised)
