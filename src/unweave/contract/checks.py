"""What a contract needs and does not find, and what its user should know of it."""

from __future__ import annotations

from collections.abc import Sequence

from unweave.contract.clauses import Forget, Keep
from unweave.contract.sets import HALVES, Sets
from unweave.errors import ConfigurationError
from unweave.samples import Data, indexed


def check(keeps: Sequence[Keep], forgets: Sequence[Forget], sets: Sets, retrained: bool) -> None:
    """Refuses clauses that have nothing to be read on.

    Raises:
        ConfigurationError: everything that is missing.
    """
    faults, wanted = [], {clause.metric for clause in forgets}
    if "unseen" in wanted and sets.holdout is None:
        faults.append(
            "contract: 'unseen' compares with examples that the model was never trained on: pass holdout=..., or "
            "say when forgetting is enough: Contract(forget=[Forget('accuracy', at_most=...)])."
        )
    if "retrained" in wanted and not retrained:
        faults.append("contract: 'retrained' compares with a retrained model: pass retrained=...")
    if keeps and sets.guard is None:
        faults.append("contract: keep clauses are measured on a guard set: pass guard=...")
    if _size(sets.holdout) == 0:
        faults.append("contract: the holdout is empty: no example like those to forget was kept out of training.")
    if faults:
        raise ConfigurationError(faults)


def remarks(keeps: Sequence[Keep], forgets: Sequence[Forget], sets: Sets, default: bool) -> list[str]:
    """What limits the claim, or was decided for the user; `default`: the forget clauses are."""
    found = []
    if keeps and sets.final is None:
        found.append("No final set: every keep clause was judged on the guard set alone, which steered the run.")
    size = _size(sets.holdout)
    if any(c.metric == "unseen" for c in forgets) and size is not None and size < HALVES:
        found.append("The holdout is small: the same examples steered the run and measure its end.")
    if default and len(forgets) > 1:
        found.append("Default: a class removed whole must be unseen and no longer recognised.")
    return found


def _size(data: Data | None) -> int | None:
    return len(data) if data is not None and indexed(data) else None  # type: ignore[arg-type]
