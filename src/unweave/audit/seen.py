"""What a model says of every example, asked once and kept: what every part of `evidence.json` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from torch import Tensor

from unweave.audit.experiment import Experiment, holdout_of, kept_at
from unweave.audit.models import Made
from unweave.evaluation.metric import Array, Score
from unweave.evaluation.outputs import Outputs, Splits, predict
from unweave.evaluation.scores import score_outputs
from unweave.modalities.images.job import ImageJob
from unweave.store import keep_tensors, kept_tensors


class Told(Protocol):
    """What one model says of the examples of a set, and the class of each."""

    @property
    def margin(self) -> Array:
        """One number an example, `[n]`: the higher, the better it is known."""
        ...

    @property
    def labels(self) -> Tensor:
        """The class of each, `[n]`."""
        ...

    def where(self, rows: Tensor) -> Self:
        """Some of them."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


class Seen(Protocol):
    """What one model says of every example, and all of its scores."""

    @property
    def forget(self) -> Told:
        """The forget set."""
        ...

    @property
    def retain(self) -> Told:
        """The retain set."""
        ...

    @property
    def test(self) -> Told:
        """Unseen examples."""
        ...

    @property
    def holdout(self) -> Told:
        """Unseen examples that are exchangeable with the forget set."""
        ...

    @property
    def finite(self) -> bool:
        """Whether all that it says is finite."""
        ...

    def sheet(self, seed: int = 0) -> Mapping[str, Score]:
        """Every score of this model."""
        ...


@dataclass(frozen=True, eq=False)
class Signal:
    """How well a model knows each example of a set, `[n]`, and its class, 0 where there are none."""

    margin: Array
    labels: Tensor

    def where(self, rows: Tensor) -> Signal:
        """Some of them."""
        return Signal(self.margin[rows.numpy()], self.labels[rows])

    def __len__(self) -> int:
        return len(self.margin)


@dataclass(frozen=True, eq=False)
class ImageSeen:
    """What a classifier says of every example, from one inference pass.

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
    def finite(self) -> bool:
        """Whether all outputs are."""
        return all(bool(part.logits.isfinite().all()) for part in self.whole)

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

    def margins(self, kind: str, read: Callable[[Seen], Told]) -> Array:
        """A row per model: the margins of the examples that `read` takes, `[models, n]`."""
        return np.stack([read(seen).margin for seen in self.of(kind)])


def see(world: Experiment, made: Made) -> ImageSeen:
    """The model's outputs on all sets: one inference pass per example, ever."""
    request = world.request
    assert isinstance(request, ImageJob), "of models that draw: audit.drawn"
    sets = {"forget": request.forget, "retain": request.retain, "test": request.test}
    place = kept_at({"outputs of": made.about["sha256"], **world.prints})
    if (kept := kept_tensors(place)) is None:
        kept = {name: predict(made.model, request.task, part, name=name).logits for name, part in sets.items()}
        keep_tensors(place, kept, {})
    return seen(world, *(Outputs(kept[name], part.labels) for name, part in sets.items()))


def seen(world: Experiment, forget: Outputs, retain: Outputs, test: Outputs) -> ImageSeen:
    """Beside a model's outputs on the three sets those on the holdout, with its labels."""
    holdout = Outputs(test.logits.index_select(0, world.holdout_rows), holdout_of(world.request).labels)
    return ImageSeen(forget, retain, test, holdout)
