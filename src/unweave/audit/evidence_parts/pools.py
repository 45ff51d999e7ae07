"""The outputs of all models: what every part of the evidence card reads, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unweave.evaluation.outputs import Outputs, Splits
from unweave.evaluation.scores import score_outputs
from unweave.evaluation.value import Array, Score

KINDS = ("original", "retrained", "unlearned")


@dataclass(frozen=True, eq=False)
class Seen:
    """What one model says of every example, from one inference pass.

    Args:
        forget: the forget set, with the labels that it was trained on.
        retain: the retain set.
        test: unseen examples.
        holdout: those of them that are exchangeable with the forget set, with labels made in the same way.
    """

    forget: Outputs
    retain: Outputs
    test: Outputs
    holdout: Outputs

    def sheet(self, seed: int = 0) -> Mapping[str, Score]:
        """Every score of this model."""
        return score_outputs(self.forget, self.retain, self.test, seed=seed)

    @property
    def whole(self) -> tuple[Outputs, Outputs, Outputs]:
        """All outputs; the holdout's are part of the test set's."""
        return self.forget, self.retain, self.test

    @property
    def splits(self) -> Splits:
        """For what is asked of a class that was removed whole."""
        return Splits(self.forget, self.retain, self.test)


@dataclass(frozen=True, eq=False)
class Pools:
    """Several models of each kind, each from a training of its own."""

    original: Sequence[Seen]
    retrained: Sequence[Seen]
    unlearned: Sequence[Seen]

    def of(self, kind: str) -> Sequence[Seen]:
        """The models of one of `KINDS`."""
        return {"original": self.original, "retrained": self.retrained, "unlearned": self.unlearned}[kind]

    def margins(self, kind: str, read: Callable[[Seen], Outputs]) -> Array:
        """A row per model: the margins of the examples that `read` takes, `[models, n]`."""
        return np.stack([read(seen).margin for seen in self.of(kind)])
