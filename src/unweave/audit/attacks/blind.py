"""The blind baseline: an attacker that never sees the model.

If it tells the forget set from the holdout, the two differ in more than membership, and so does every attack that
compares them: its AUC has no meaning by itself, only beside a retrained model's. Das et al., "Blind baselines beat
membership inference attacks", arXiv:2406.16201.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from unweave.audit.attacks.population import AUC, ranking, read
from unweave.evaluation.evidence import Evidence
from unweave.evaluation.value import Array

BLIND = replace(
    AUC,
    name="blind_auc",
    definition="AUC of a cross-fitted logistic regression on features of the examples alone, forget against holdout",
    needs="features that no model made: pixels, word counts, lengths, dates",
    source="Das et al., arXiv:2406.16201",
)


@dataclass(frozen=True)
class Blind:
    """The blind AUC and what it means for the others."""

    evidence: Evidence

    @property
    def exchangeable(self) -> bool | None:
        """No difference was found at 5 %; None where that is undefined."""
        return None if self.evidence.p is None else self.evidence.p > 0.05

    @property
    def text(self) -> str:
        """The meaning, in words."""
        if self.exchangeable is None:
            return f"Nobody knows whether forget and holdout set are exchangeable. {self.evidence.reason}"
        if self.exchangeable:
            return (
                "Without the model, forget and holdout set cannot be told apart: the attacks' AUC can be read as it is."
            )
        return (
            f"Without the model, forget and holdout set can be told apart (AUC {self.evidence.value:.2f}): they are "
            "not exchangeable. The attacks' AUC has a meaning only beside a retrained model's."
        )


def blind_baseline(forget: ArrayLike, holdout: ArrayLike, *, folds: int = 5, seed: int = 0) -> Blind:
    """How well the forget set and the holdout are told apart without the model.

    Args:
        forget: features `[n, d]` of the forget examples; images may come as they are, `[n, ...]`.
        holdout: the same of the holdout examples.
        folds: of the cross-fitting.
        seed: of the folds.
    """
    sides = _flat(forget), _flat(holdout)
    sizes = {"forget examples": len(sides[0]), "holdout examples": len(sides[1]), "features": sides[0].shape[1]}
    return Blind(BLIND.of(sizes, lambda: read(ranking(*sides, folds=folds, seed=seed))))


def _flat(x: ArrayLike) -> Array:
    array = np.asarray(x, dtype=np.float64)
    return array.reshape(len(array), -1)
