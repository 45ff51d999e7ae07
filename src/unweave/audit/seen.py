"""What a model says of every example, asked once and kept: what every part of `evidence.json` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unweave.audit.experiment import Experiment, holdout_of, kept_at
from unweave.audit.models import Made
from unweave.evaluation.metric import Array, Score
from unweave.evaluation.outputs import Outputs, Splits, predict
from unweave.evaluation.scores import score_outputs
from unweave.store import keep_tensors, kept_tensors


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


def see(world: Experiment, made: Made) -> Seen:
    """The model's outputs on all sets: one inference pass per example, ever."""
    request = world.request
    sets = {"forget": request.forget, "retain": request.retain, "test": request.test}
    place = kept_at({"outputs of": made.about["sha256"], **world.prints})
    if (kept := kept_tensors(place)) is None:
        kept = {name: predict(made.model, request.task, part, name=name).logits for name, part in sets.items()}
        keep_tensors(place, kept, {})
    return seen(world, *(Outputs(kept[name], part.labels) for name, part in sets.items()))


def seen(world: Experiment, forget: Outputs, retain: Outputs, test: Outputs) -> Seen:
    """Beside a model's outputs on the three sets those on the holdout, with its labels."""
    holdout = Outputs(test.logits.index_select(0, world.holdout_rows), holdout_of(world.request).labels)
    return Seen(forget, retain, test, holdout)
