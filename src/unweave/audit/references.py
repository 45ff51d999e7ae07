"""Is a reference what it says: a model that never saw the forget set?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unweave.audit.attacks import Blind, forget_against_holdout
from unweave.audit.evidence_parts.pools import Seen
from unweave.errors import ConfigurationError

SURE = 1e-4
"""A model that never saw the forget set is refused in so small a share of cases."""
LUCKY = 0.01
"""More of a class nobody recognises by chance who never saw it: no training pushes an output towards it."""


def check_references(retrained: Sequence[Seen], files: Sequence[Path], blind: Blind) -> None:
    """Refuses references that saw the forget set: a comparison with them would call any leak exact.

    A class that is forgotten whole may not be recognised at all. Otherwise the forget set may not look more familiar
    than the holdout, which says something only where the two are exchangeable.

    Args:
        retrained: what each reference says.
        files: where it came from.
        blind: whether forget set and holdout are exchangeable.

    Raises:
        ConfigurationError: with every reference that gives itself away.
    """
    faults = []
    for seen, file in zip(retrained, files, strict=True):
        splits = seen.splits
        gone = seen.forget.where(seen.forget.labels.unsqueeze(1).eq(splits.forgotten).any(1))
        if len(gone) and (share := float(gone.correct.mean())) > LUCKY:
            faults.append(
                f"{file}: this reference saw the forget set: it recognises {100 * share:.0f} % of a class that is "
                "forgotten whole. Give models that were trained on the retain set alone."
            )
            continue
        auc = forget_against_holdout(seen.forget.margin, seen.holdout.margin, fpr=()).auc
        if blind.exchangeable and auc.p is not None and auc.value is not None and auc.value > 0.5 and auc.p <= SURE:
            faults.append(
                f"{file}: this reference saw the forget set: it knows forget examples from exchangeable unseen ones "
                f"(AUC {auc.value:.3f}, p = {auc.p:.1g}). Give models that were trained on the retain set alone."
            )
    if faults:
        raise ConfigurationError(faults)
