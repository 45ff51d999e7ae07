"""Dense prediction: a class for each place of an input, be it a pixel, a voxel or a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from unweave.arguments import check_fields
from unweave.data.batches import Batch, whole
from unweave.data.twins import follows, on_host, places
from unweave.devices import finest
from unweave.errors import ConfigurationError
from unweave.tasks._base import Owners, Predictions, Value, divergences
from unweave.tasks._calls import OWN, output, parts
from unweave.tasks._doubts import held, no_better, probabilities

_NAME = "dense"


@dataclass(frozen=True)
class Dense:
    """A classifier of places: segmentation, token classification.

    Batches are `(inputs, labels)`, or mappings as for `Classification`. Labels are class indices `[b, places]`, any
    integers or bool, of as many dimensions as there are: `[b, h, w]` of pixels (a mask `[b, 1, h, w]` will do),
    `[b, t]` of tokens. One logit of each place is that of class 1 of two. The loss of an example is the mean
    cross-entropy of its places that count: an example owns its places, and is forgotten and kept as a whole.

    Unit of the loss: nats of a place. Accuracy: the share of an example's places that are right. Membership signal:
    minus the loss. Contract, if nothing is said: the overlap of classes (intersection over union, which sees a class of
    few places go) within 1 % of the original's, and "unseen": the signal does not tell the forget set from examples
    that the model was never trained on. "retrained": accuracy on the forget set is that of the retrained model.

    Args:
        ignore: the label of a place that does not count; 255 in many segmentation sets.
        classes: which dimension of the logits has the classes: "first", `[b, classes, places]`, as torch has them, or
            "last", `[b, places, classes]`, as transformers has those of tokens. None: "last" of tokens (one dimension
            of places), "first" of anything else.

    Raises:
        ConfigurationError: labels are no class indices, an example has no place that counts, or the logits do not fit.
    """

    ignore: int = -100
    classes: Literal["first", "last"] | None = None

    beyond: ClassVar[float] = 10.0
    graded: ClassVar[bool] = True
    tokens: ClassVar[bool] = False
    classed: ClassVar[bool] = False
    reading_batch: ClassVar[int] = 32

    def __post_init__(self) -> None:
        check_fields(self)

    def predictions(self, model: nn.Module, batch: Batch) -> Predictions:
        """One prediction for each place that counts, those of the first example first."""
        logits, labels = self._read(model, batch)
        counts = places(on_host(labels) != self.ignore, logits.device)
        return Predictions(logits[counts], labels[counts], Owners(len(labels), counts[0]))

    def nll(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean cross-entropy of each example's places, `[b]`."""
        seen = self.predictions(model, batch)
        return seen.owners.reduced(seen.nll())

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Batch) -> Tensor:
        """The mean of `KL(p_reference || p_model)` over the places, `[b]`; no gradient flows to the reference."""
        return divergences(self, model, reference, batch)

    def accuracy(self, model: nn.Module, batch: Batch) -> Tensor:
        """The share of each example's places that are right, `[b]`; NaN where a logit is."""
        seen = self.predictions(model, batch)
        right = finest(seen.logits.argmax(1) == seen.targets)
        return seen.owners.mean(right.masked_fill(seen.logits.isnan().any(1), torch.nan))

    def overlap(self, model: nn.Module, batch: Batch) -> Tensor:
        """Intersection over union, `[b]`: the mean over the classes that an example has or is said to have.

        NaN where a logit is.
        """
        seen = self.predictions(model, batch)
        classes, said, of = seen.logits.shape[1], seen.logits.argmax(1), seen.owners.of().to(seen.logits.device)

        def counted(where: Tensor, chosen: Tensor | None = None) -> Tensor:
            keys = of * classes + where
            keys = keys if chosen is None else keys[chosen]
            found = torch.bincount(keys, minlength=seen.owners.count * classes)
            return finest(found.view(seen.owners.count, classes))

        both = counted(seen.targets, said == seen.targets)
        either = counted(seen.targets) + counted(said) - both
        broken = seen.owners.sum(finest(seen.logits.isnan().any(1))) > 0
        return ((both / either.clamp(min=1)).sum(1) / (either > 0).sum(1)).masked_fill(broken, torch.nan)

    @property
    def values(self) -> Mapping[str, Value]:
        """What is scored beside the loss."""
        return {
            "accuracy": Value(self.accuracy, "mean share of an example's places that are right", higher=True),
            "overlap": Value(self.overlap, "mean over examples of intersection over union of classes", higher=True),
        }

    def guess(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a model that knows nothing, the logarithm of the number of classes, `[b]`."""
        seen = self.predictions(model, batch)
        return torch.full((seen.owners.count,), float(seen.logits.shape[1])).log()

    def doubts(self, model: nn.Module, batches: Sequence[Batch]) -> list[str]:
        """What does not look right on retain examples: probabilities for logits, or no better than a constant."""
        outputs = [output(model, batch, _NAME).detach().cpu() for batch in batches]
        places = [self.predictions(model, batch) for batch in batches]
        one = bool(places) and places[0].logits.shape[1] == 2 and bool((places[0].logits[:, 0] == 0).all())
        logits = [each.flatten()[:, None] for each in outputs] if one else [each.logits.cpu() for each in places]
        if told := probabilities(logits):
            return told
        most = torch.cat([each.targets for each in places]).mode().values
        guess = held([each.owners.mean(finest(each.targets == most)) for each in places])
        right = held([self.accuracy(model, batch) for batch in batches])
        return no_better(right, guess, "{:.3g} of an example's places are right, {:.3g} with one class everywhere")

    def _read(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits `[b, places, classes]` and labels `[b, places]`, of as many dimensions of places as there are."""
        found, labels = output(model, batch, _NAME), self._labels(batch)
        if labels.ndim == found.ndim > 2 and labels.shape[1] == 1:
            labels = follows(labels, lambda values: values[:, 0])
            found = found[:, 0] if found.shape[1] == 1 else found
        logits = self._last(found, labels)
        self._check(labels, logits.shape[-1])
        return logits, labels

    def answers(self, batch: Batch, classes: int) -> None:
        """Refuses labels that are no classes of so many (0: not known), and examples without a place that counts."""
        self._check(self._labels(batch), classes)

    def _labels(self, batch: Batch) -> Tensor:
        labels = _classes(parts(batch, _NAME)[1])
        if labels.ndim < 2:
            raise ConfigurationError(
                f"task {_NAME!r} expects a class for each place, [b, places]; found {list(labels.shape)}. If each "
                "example has one class pass task='classification'."
            )
        return labels

    def _check(self, labels: Tensor, classes: int) -> None:
        flat = on_host(labels).flatten(1)
        counts = flat != self.ignore
        if not bool(counts.any(1).all()):
            none = (~counts.any(1)).nonzero()[:, 0].tolist()
            raise ConfigurationError(
                f"every example needs a place that counts; found none in {len(none)} of {len(labels)}: all of its "
                f"labels are {self.ignore}. Take them out.",
                none,
            )
        own = flat[counts]
        if self.ignore != 255 and classes == 2 and bool((own == 255).any()) and bool((own % 255 == 0).all()):
            raise ConfigurationError(
                "the labels are 0 and 255, and the model knows 2 classes: if 255 is class 1, as in the files of masks, "
                "give (labels > 0).long(); if it stands for places that do not count pass task=Dense(ignore=255)."
            )
        if self.ignore != 255 and classes <= 255 and bool((own == 255).any()):
            raise ConfigurationError(
                f"a label is 255, and the model knows {classes} classes: if that stands for places that do not count "
                "pass task=Dense(ignore=255)."
            )
        outside = counts & ((flat < 0) | (flat >= (classes or torch.inf)))
        if bool(outside.any()):
            rows, value = outside.any(1).nonzero()[:, 0].tolist(), int(flat[outside][0])
            raise ConfigurationError(
                f"labels must be at least 0 and below {classes or 'the number of classes'}, or {self.ignore} where a "
                f"place does not count; found {value} in an example, and such in {len(rows)} of {len(labels)}. Number "
                "the classes from 0, or load the model that has that many.",
                rows,
            )

    def _last(self, found: Tensor, labels: Tensor) -> Tensor:
        """The logits with the classes last, two of them at least."""
        places, tokens = labels.shape, labels.ndim == 2
        if found.shape == places:
            return torch.stack([torch.zeros_like(found), found], -1)
        last, first = found.shape[:-1] == places, (found.shape[0], *found.shape[2:]) == places
        if last and first and self.classes is None and found.ndim == labels.ndim + 1:
            raise ConfigurationError(
                f"Logits {list(found.shape)} for labels {list(places)} may have the classes first or last: say which, "
                "task=Dense(classes='first') or 'last'."
            )
        place = self.classes or ("last" if tokens else "first")
        if found.ndim != labels.ndim + 1 or not (last if place == "last" else first):
            fits = "last" if last and found.ndim == labels.ndim + 1 else "first" if first else ""
            advice = f"pass task=Dense(classes={fits!r})" if fits else f"resize them in its forward, or pass {OWN}"
            want = f"{[*places, 'classes']}" if place == "last" else f"{[places[0], 'classes', *places[1:]]}"
            raise ConfigurationError(
                f"The model must return logits {want} for labels {list(places)}; it returned {list(found.shape)}. If "
                f"they have the classes elsewhere, or fewer places, {advice}."
            )
        moved = found if place == "last" else found.movedim(1, -1)
        return torch.cat([torch.zeros_like(moved), moved], -1) if moved.shape[-1] == 1 else moved


def _classes(answer: Any) -> Tensor:
    """Class indices in int64, of integers, bool, or floats that are 0 or 1.

    Raises:
        ConfigurationError: they are none.
    """
    real = isinstance(answer, Tensor) and not answer.is_complex()
    if real and not (answer.is_floating_point() and bool((on_host(answer) != on_host(answer).bool()).any())):
        return whole(answer)
    what = f"{list(answer.shape)} of {answer.dtype}" if isinstance(answer, Tensor) else type(answer).__name__
    raise ConfigurationError(
        f"task {_NAME!r} expects class indices [b, places] as labels; found {what}. Number the classes from 0 and give "
        "integers; for amounts pass task='regression'."
    )
