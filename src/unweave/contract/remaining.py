"""What a contract leaves, for rules whose hyperparameter is "auto"."""

from __future__ import annotations

from collections.abc import Iterable

from unweave.contract.judge import Limit
from unweave.contract.snapshot import Taken
from unweave.rules._base import Left
from unweave.tasks import NATS as UNIT

ENDLESS = 100  # steps over which the budget is spread where a run has no end of its own
NATS, RELATIVE = 0.02, 0.05  # where no clause bounds the loss, as a trust region: nats, or a share of another loss


def rise(limits: Iterable[Limit], otherwise: float = NATS) -> float:
    """The whole budget as a rise of the retain loss: the least of the clauses on loss and perplexity."""
    return min((limit.judged for limit in limits if limit.clause.metric in ("loss", "perplexity")), default=otherwise)


def left(limits: Iterable[Limit], share: float, steps: int | None, record: Taken, unit: str = UNIT) -> Left:
    """What is left after a step.

    Args:
        limits: the keep clauses.
        share: of the budget that the last kept state leaves, in [0, 1].
        steps: of the run that are left; None where nobody knows.
        record: the step.
        unit: of the task's loss.
    """
    rest = ENDLESS if steps is None else max(steps, 1)
    otherwise = NATS if unit == UNIT else RELATIVE * abs(record.retain)
    return Left(share, share * rise(limits, otherwise), rest, record.lr, record.predicted, record.realised)
