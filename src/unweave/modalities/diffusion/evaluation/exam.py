"""What every model is asked alike, and what it answers: drawn images before the judge, and denoising losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unweave.arguments import check_fields, natural
from unweave.data.batches import Batch
from unweave.data.draws import numbers
from unweave.data.pairs import Pair
from unweave.data.protocol import Indices
from unweave.errors import ConfigurationError
from unweave.evaluation.metric import Array
from unweave.execution import device_of, reseeded
from unweave.modalities.diffusion.evaluation.distances import Sample
from unweave.modalities.diffusion.evaluation.generate import generate
from unweave.modalities.diffusion.evaluation.judge import Judge
from unweave.modalities.diffusion.evaluation.prompts import Words
from unweave.modules import evaluating
from unweave.tasks import Diffusion

Values = Callable[[nn.Module, Batch], Tensor]
SETS = ("forget", "retain", "test", "unseen")
"""What a model's losses are read on; the last is not always there."""
_READ = 64  # examples of a pass, before their looks
_APART = 2**40  # between the streams of two sets, whose examples are to be independent


class Held(Protocol):
    """A set of examples, of which batches `{"x0", "condition"}` can be had."""

    @property
    def labels(self) -> Tensor | None:
        """The class of each, `[n]`; None where there are no classes."""

    def __len__(self) -> int:
        """How many there are."""

    def batch(self, indices: Indices) -> Batch:
        """The given rows."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answered.

    Attributes:
        forgotten: the judge's logits of images asked for as a class to forget, `[f, classes]`.
        asked: the class of each of these, `[f]`.
        kept: the same of the classes to keep, `[k, classes]`.
        wanted: the class of each of these, `[k]`.
        leaked: classes to forget.
        drawn: the judge's features of the images of the classes to keep, which were asked for as these.
        real: the same of real images of these classes, which the judge calls these.
        losses: the denoising loss of each example, by set.
        scores: of the forget set and of unseen examples what a membership attack reads; higher says member.
        seed: of the intervals.
        attacked: of each attack, for each image that it drew of a class to forget, 1 where the judge calls it that.
    """

    forgotten: Array
    asked: NDArray[np.int64]
    kept: Array
    wanted: NDArray[np.int64]
    leaked: tuple[int, ...]
    drawn: Sample
    real: Sample
    losses: Mapping[str, Array]
    scores: tuple[Array, Array]
    seed: int = 0
    attacked: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Exam:
    """The questions: which conditions are drawn, how, from which noise, and which examples' losses are read.

    Image i of a condition starts from the same noise for every model, and example i of a set is noised alike.

    Attributes:
        task: the model's.
        judge: says what an image shows; None: nobody does, and only examples' losses are read.
        real: held-out real images of the classes to keep, `[r, channels, h, w]` in [-1, 1].
        sets: "forget", "retain", "test" and, where there are, "unseen": examples like those to forget that no model
            was trained on.
        kept: classes to keep.
        forgotten: classes to forget whole; empty where the request is about single examples.
        condition: of classes `[n]`, what the model is given; the classes themselves, unless said otherwise.
        words: of a class and a number of free tokens, its text behind them; None where conditions are no texts.
        picture: of what the model draws, the images that the judge sees; the same, unless said otherwise.
        images: drawn of each class to forget.
        kept_images: drawn of each class to keep.
        steps, guidance: of the sampler.
        looks: draws of (t, e) for an example whose loss is read.
        most: examples of a set whose losses are read, at most; which ones depends on the seed.
        seed: of the noise and of the intervals.

    Raises:
        ConfigurationError: no classes to keep, a set is missing, or a number is out of range.
    """

    task: Diffusion
    judge: Judge | None
    real: Tensor
    sets: Mapping[str, Held]
    kept: tuple[int, ...]
    forgotten: tuple[int, ...] = ()
    condition: Callable[[Tensor], Tensor] = field(default=lambda classes: classes)
    words: Callable[[int, int], Words] | None = None
    picture: Callable[[Tensor], Tensor] = field(default=lambda images: images)
    images: int = 200
    kept_images: int = 100
    steps: int = 20
    guidance: float = 1.0
    looks: int = 10
    most: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        missing, unknown = ([n for n in SETS[:3] if n not in self.sets], [n for n in self.sets if n not in SETS])
        twice = set(self.kept) & set(self.forgotten)
        check_fields(
            self,
            "" if self.kept else "kept must name a class at least; found none.",
            f"sets must have {', '.join(missing)}; found {', '.join(self.sets) or 'none'}." if missing else "",
            f"sets may have {', '.join(SETS)}; found {', '.join(unknown)}." if unknown else "",
            f"a class is either kept or forgotten; found {sorted(twice)} in both." if twice else "",
            **dict.fromkeys(("images", "kept_images", "steps", "looks", "most"), natural),
        )

    @property
    def beholder(self) -> Judge:
        """The judge, where there is one."""
        assert self.judge is not None, "who asks for what a judge sees has made sure that there is one"
        return self.judge

    @cached_property
    def true(self) -> Sample:
        """The judge's features of the real images, and what it calls them."""
        logits, features = self.beholder.seen(self.real)
        return Sample(features.double().numpy(), logits.argmax(1).numpy())

    def drawn(self, model: nn.Module, classes: tuple[int, ...], count: int) -> Tensor:
        """`count` images of each class, class by class, as the judge sees them."""
        asked = torch.tensor(classes).repeat_interleave(count)
        return self.pictures(model, self.condition(asked), torch.arange(count).repeat(len(classes)))

    def pictures(self, model: nn.Module, conditions: Tensor, places: Tensor) -> Tensor:
        """Images of these conditions from the noise of these numbers."""
        shape = tuple(self.rows("forget", 1)["x0"].shape[1:])
        found = generate(model, self.task, conditions, places, shape, self.steps, self.guidance, self.seed)
        return self.picture(found)

    def rows(self, name: str, most: int | None = None) -> Batch:
        """The examples of a set whose losses are read."""
        return self.sets[name].batch(self._chosen(name)[:most])

    def taken(self, model: nn.Module) -> Answers:
        """What a model answers.

        Raises:
            ConfigurationError: it knows no such condition, or guidance is asked for and it has no null condition.
        """
        seen = _UNJUDGED if self.judge is None else self._judged(model, self.judge)
        return Answers(
            leaked=self.forgotten,
            losses={name: self.losses(model, name) for name in self.sets},
            scores=(self.read(model, "forget", self.task.score), self.read(model, self.others, self.task.score)),
            seed=self.seed,
            **seen,
        )

    def _judged(self, model: nn.Module, judge: Judge) -> dict[str, Any]:
        logits, features = judge.seen(self.drawn(model, self.kept, self.kept_images))
        wanted, forgotten = np.repeat(self.kept, self.kept_images), logits[:0]
        if self.forgotten:
            forgotten = judge.logits(self.drawn(model, self.forgotten, self.images))
        return {
            "forgotten": forgotten.double().numpy(),
            "asked": np.repeat(self.forgotten, self.images).astype(np.int64),
            "kept": logits.double().numpy(),
            "wanted": wanted,
            "drawn": Sample(features.double().numpy(), wanted),
            "real": self.true,
        }

    @property
    def others(self) -> str:
        """The set that the forget set is told from: "unseen" where there is one, else "test"."""
        return "unseen" if "unseen" in self.sets else "test"

    def losses(self, model: nn.Module, name: str) -> Array:
        """The denoising loss of each example of a set, `[n]`."""
        return self.read(model, name, replace(self.task, looks=self.looks, dropout=0.0).nll)

    @torch.no_grad()
    def read(self, model: nn.Module, name: str, values: Values) -> Array:
        """Values of each example of a set, `[n]`, every one with random numbers of its own row."""
        rows, found = self._chosen(name), list[Tensor]()
        device = device_of(model)
        with evaluating(model):
            for part in torch.from_numpy(rows).split(_READ):
                batch = {key: each.to(device) for key, each in self.sets[name].batch(part).items()}
                with drawing(numbers(self.seed, SETS.index(name) * _APART + part)):
                    found.append(values(model, batch).cpu().double())
        return torch.cat(found).numpy()

    def _chosen(self, name: str) -> NDArray[np.int64]:
        count = len(self.sets[name])
        if not count:
            raise ConfigurationError(f"the {name} set must hold at least one example, found 0: check the split")
        return np.sort(np.random.default_rng(self.seed).permutation(count)[: self.most])


_NONE, _NOBODY = np.empty((0, 1)), np.empty(0, np.int64)
_UNJUDGED: dict[str, Any] = {
    **{"forgotten": _NONE, "asked": _NOBODY, "kept": _NONE, "wanted": _NOBODY},
    **dict.fromkeys(("drawn", "real"), Sample(_NONE, _NOBODY)),
}


def drawing(seeds: Tensor) -> AbstractContextManager[None]:
    """What a task draws inside for each example of one batch is of these streams, `[b]`."""
    return reseeded(Pair((), (), int(seeds[0]), ((seeds,),)), side=0, micro=0)
