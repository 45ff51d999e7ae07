"""What a contract leaves, for rules whose hyperparameter is "auto"."""

from __future__ import annotations

from collections.abc import Iterable

from unweave.contract.judge import Limit
from unweave.contract.snapshot import Taken
from unweave.rules._base import Left

ENDLESS = 100  # steps over which the budget is spread where a run has no end of its own
NATS = 0.02  # where no clause is in nats: what the trust region tolerates on top of its share of the starting loss


def nats(limits: Iterable[Limit]) -> float:
    """The whole budget as a rise of the retain loss: the least of the clauses on loss and perplexity."""
    return min((limit.judged for limit in limits if limit.clause.metric in ("loss", "perplexity")), default=NATS)


def left(limits: Iterable[Limit], share: float, steps: int | None, record: Taken) -> Left:
    """What is left after a step.

    Args:
        limits: the keep clauses.
        share: of the budget that the last kept state leaves, in [0, 1].
        steps: of the run that are left; None where nobody knows.
        record: the step.
    """
    rest = ENDLESS if steps is None else max(steps, 1)
    return Left(share, share * nats(limits), rest, record.lr, record.predicted, record.realised)
