"""One request to a diffusion model: the images, the models, and what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unweave.data.splits import Split
from unweave.errors import ConfigurationError
from unweave.modalities import by_row
from unweave.modalities._base import Json, Rows, Scored, Sheet
from unweave.modalities.diffusion import folders, lora
from unweave.modalities.diffusion.data import Conditioned
from unweave.modalities.diffusion.evaluation import asked, cost, scores
from unweave.modalities.diffusion.evaluation.exam import Exam
from unweave.modalities.diffusion.evaluation.grid import grid
from unweave.modalities.diffusion.evaluation.judge import Judge
from unweave.modalities.diffusion.lora import Lora
from unweave.modalities.diffusion.networks import Network
from unweave.modalities.diffusion.recipe import DiffusionEvaluation
from unweave.modalities.diffusion.recognised import Recognised
from unweave.modalities.diffusion.sources import Pictures
from unweave.modalities.diffusion.training import Training, known, record, seconds_spent, trained
from unweave.modalities.diffusion.view import View, gone
from unweave.modalities.images.image_folder import png
from unweave.modalities.images.tensors import Source
from unweave.modules import copied
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import OpenSection
from unweave.sharded import is_sharded
from unweave.store import atomically
from unweave.tasks import Diffusion
from unweave.watch import Watch, silent

GRID = "grid.png"


@dataclass(frozen=True, eq=False)
class DiffusionJob:
    """Images, what is to be forgotten of them, and how models of them are trained and judged.

    Attributes:
        text: the request in words.
        pictures: the images as they are, with the names of their classes; read, or drawn, when they are needed.
        split: rows of the training images to forget and to retain.
        gone: classes that no retain image has: those to forget whole.
        view: what is unlearned, and how it sees images.
        origin: the folder that it came from; None where it is trained here.
        beside: the pipeline's folder whose other parts go with what is saved; None where there are none.
        adapters: those to put on it, and the seed of their weights.
        training: how models are trained; None where nobody knows how the original was.
        how: the recipe's evaluation.
        needed: says how much memory a step needs.
        among: rows of the training images that this is about; None: all.
        also: rows of them on no side that retrained models learn, too; of a proxy request.
        held: training rows on which no step trains, guard and final set of the contract; None: taken from the retain
            set.
        notes: what the user has to know of the request.
        looked: retain examples that the quote looks at, at most.
    """

    text: str
    pictures: Pictures
    split: Split
    gone: tuple[int, ...]
    view: View
    origin: Path | None
    beside: Path | None
    adapters: tuple[Lora, int] | None
    training: Training | None
    how: DiffusionEvaluation
    needed: Callable[[], str | None]
    among: Rows | None = None
    also: Rows | None = None
    held: tuple[Rows, Rows] | None = None
    notes: tuple[str, ...] = ()
    looked: int = 300

    @property
    def network(self) -> Network:
        """What is unlearned, before it has weights."""
        return self.view.network

    @cached_property
    def source(self) -> Source:
        """The images as they are."""
        return self.pictures.load()

    @cached_property
    def train(self) -> Conditioned:
        """The training images with their conditions, as the network sees them."""
        whole = self.view.seen(self.source.train)
        return whole if self.among is None else whole.subset(self.among)

    @cached_property
    def test(self) -> Conditioned:
        """Images of the same distribution that no model was trained on."""
        return self.view.seen(self.source.test)

    @cached_property
    def holdout(self) -> Conditioned:
        """Test images of the classes of the forget set in their proportions; none where a class has no test image."""
        labels, test = self.train.labels[self.split.forget], self.source.test
        lacks = set(labels.tolist()) - set(test.labels.tolist())
        return self.view.seen(test.subset([]) if lacks else by_row.exchangeable(test, labels))

    @cached_property
    def forget(self) -> Conditioned:
        """The examples to forget."""
        return self.train.subset(self.split.forget)

    @cached_property
    def retain(self) -> Conditioned:
        """The examples to keep."""
        return self.train.subset(self.split.retain)

    @cached_property
    def without(self) -> Conditioned:
        """What retrained models learn."""
        if self.also is None:
            return self.retain
        return self.train.subset(np.sort(np.concatenate([self.split.retain, self.also])))

    @property
    def kept(self) -> tuple[int, ...]:
        """Classes of the retain set: what is to be forgotten whole, now or by earlier requests, is not among them."""
        return tuple(sorted(set(self.train.labels[self.split.retain].tolist())))

    @cached_property
    def task(self) -> Diffusion:
        """The schedule of the model, its null condition, what conditions are called, and how images are recognised."""
        null = self.view.null
        how = self.network.trained
        dropout = 0.0 if null is None or how is None else how.dropout
        plain = Diffusion(
            self.network.schedule, null, dropout, named=self.view.named, others=self.view.others(self.kept)
        )
        if self.how.judge == "none":
            return plain
        shape, drawn = tuple(self.train.x0.shape[1:]), (self.how.sampling_steps, self.how.guidance, self.how.seed)
        seen = Recognised(lambda: self.judge, plain, shape, *drawn, picture=self.view.pictures)
        return replace(plain, recognised=seen)

    @cached_property
    def judge(self) -> Judge:
        """Trained on all training images, to forget or not, and tested on the test images; from the cache if it was."""
        return asked.judge(self.source)

    @cached_property
    def exam(self) -> Exam:
        """What every model is asked."""
        return asked.exam(self)

    def prints(self) -> dict[str, str]:
        """SHA-256 of the training, the test and the forget set, of what is held out, and of the schedule."""
        found = by_row.prints({"train": self.train, "test": self.test, "forget": self.forget}, self.held)
        return found | {"schedule": self.network.schedule.fingerprint()}

    def resolved(self, recipe: Recipe) -> dict[str, Any]:
        """The training, where it is known."""
        return {} if self.training is None else {"training": OpenSection(**asdict(self.training))}

    def divided(self) -> tuple[Conditioned, dict[str, Conditioned]]:
        """The retain set without what is held out, and that."""
        return by_row.divided(self.train, self.retain, self.split, self.held)

    def opened(self, path: Path | None, watch: Watch = silent) -> nn.Module:
        """The original, or the weights of a run; the judge is there from then on.

        Raises:
            ConfigurationError: they cannot be read, or what goes with them is not what goes with the original.
        """
        if path is not None:
            network, folder = folders.read(path)
            self._check_alike(network, folder, path)
        if self.how.judge != "none" and "judge" not in vars(self):
            vars(self)["judge"] = asked.judge(self.source, watch)
        if path is not None:
            model = folders.opened(network, folder)
            return self._adapted(model) if folder == self.origin and network.adapters is None else model
        if self.origin is not None:
            return self._adapted(folders.opened(self.network, self.origin))
        assert self.training is not None, "what came from no folder is trained"
        return self._adapted(self._trained(self.train, self.training, "training the original", watch))

    def movable(self, model: nn.Module) -> nn.Module:
        """A copy."""
        return copied(model)

    def reference(self, number: int, watch: Watch = silent) -> nn.Module | None:
        """Trained on the retain set alone, from a seed of its own; None where nobody knows how the original was."""
        if self.training is None:
            return None
        return self.retrained(self.training.seed + number, watch)

    def retrained(self, seed: int, watch: Watch = silent) -> nn.Module:
        """Trained on the retain set alone from this seed, or from the cache."""
        how = replace(self.how_trained, seed=seed)
        return self._trained(self.without, how, f"retraining without the forget set (seed {how.seed})", watch)

    @property
    def how_trained(self) -> Training:
        """See `training`; refuses where nobody knows."""
        return known(self.training)

    def seeded(self, seed: int) -> DiffusionJob:
        """The same, whose original is trained from this seed."""
        return self._like(training=replace(self.how_trained, seed=seed), origin=None)

    def within(self, rows: Rows, split: Split) -> DiffusionJob:
        """The same among these rows of the training set; `split` is of them. Judge and holdout stay."""
        lost = gone(self.train.labels[torch.from_numpy(rows)], split)
        made = self._like(among=rows, split=split, held=None, gone=lost)
        vars(made)["holdout"] = self.holdout
        return made

    def noted(self, seed: int, *, without: bool = False) -> Mapping[str, Any] | None:
        """What the cache notes of the model of this seed that was trained on all, or without the forget set."""
        how = replace(self.how_trained, seed=seed)
        return record(self.network.about(), self.without if without else self.train, how)

    def _like(self, **changed: Any) -> DiffusionJob:
        made = replace(self, **changed)
        vars(made)["judge"] = self.judge
        return made

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: what is derived is derived there again, but for judge and holdout."""
        kept = {*self.__dataclass_fields__, "judge", "holdout"}
        return {name: each for name, each in vars(self).items() if name in kept}

    def reference_seconds(self) -> float | None:
        """Of the first retrained model."""
        if self.training is None:
            return None
        return seconds_spent(self.network.about(), self.without, replace(self.training, seed=self.training.seed + 1))

    def retraining(self) -> tuple[float | None, int | None]:
        """Of the retrained model that is there, or of the original: both take the same steps."""
        if self.training is None:
            return None, None
        passes = max(1, round(self.training.steps * self.training.batch / len(self.train)))
        return self.reference_seconds() or seconds_spent(self.network.about(), self.train, self.training), passes

    def scoring_seconds(self, model: nn.Module) -> float:
        """Of what it draws and denoises, and of the attacks."""
        return cost.seconds(model, self.exam, None if is_sharded(model) else self.how.attack)

    def score(self, model: nn.Module, name: str = "", folder: Path | None = None, watch: Watch = silent) -> Scored:
        """What it draws, as the judge sees it, and what it denoises; of each model one row of images is kept."""
        attack = None if is_sharded(model) else self.how.attack  # it learns a condition, in a whole model
        found = scores.score(model, self.exam, attack, watch, f"{name} model")
        self._rows[name] = self._row(model)
        return found

    def gaps(self, sheet: Sheet, retrained: Sheet) -> Sheet:
        """In UA, RA, the membership attack and the condition search."""
        return scores.gaps(sheet, retrained)

    def save(self, model: nn.Module, folder: Path) -> None:
        """A folder as diffusers writes it, in the layout that the model came in."""
        self.network.save(model, folder, self.beside)

    def rows(self, side: str) -> list[int]:
        """Those of the training set; of the holdout, their places."""
        return list(range(len(self.holdout))) if side == "holdout" else self._side(side).tolist()

    def odds(self, model: nn.Module, side: str, places: Sequence[int]) -> Tensor:
        """That an image which the model draws for an example's condition, from its noise, is not recognised; without a
        judge, the denoising loss."""
        data = self.holdout.subset(list(places)) if side == "holdout" else self.train.subset(self._side(side)[places])
        return asked.odds(self.task, model, data)

    def shown(self, side: str, place: int) -> Json:
        """Class and picture."""
        row = int(self._side(side)[place])
        image = self.source.train.images[row if self.among is None else int(self.among[row])]
        return {"label": int(self.train.labels[row]), "png": png(image)}

    def memory(self) -> str | None:
        """Of a pretrained model, from its configuration alone; what is trained here on small images is small."""
        return self.needed()

    def leave(self, folder: Path) -> None:
        """`grid.png`: what each model draws, from the same noise."""
        if self._rows:
            atomically(folder / GRID, grid(self._rows, [self.source.classes[each] for each in self._asked]))

    @cached_property
    def _rows(self) -> dict[str, Tensor]:
        return {}

    @property
    def _asked(self) -> list[int]:
        """The classes of the grid: those to forget come first."""
        return [*self.gone, *self.exam.kept][:12]

    def _row(self, model: nn.Module) -> Tensor:
        return self.exam.drawn(model, tuple(self._asked), 1)

    def _side(self, side: str) -> Rows:
        return self.split.forget if side == "forget" else self.split.retain

    def _check_alike(self, network: Network, folder: Path, path: Path) -> None:
        """Refuses weights that go with another schedule, other conditions or another encoder than the original's."""
        view, around = self.view, self.view.frozen
        texts, parts = view.prompts is not None, (network.vae is not None, network.texts)
        same = parts == ((False, False) if around is None else (around.vae, around.texts))
        if same and around is not None and folder != around.folder:
            same = around.digest() == replace(around, folder=folder).digest()
        other = {
            "conditions are others": network.texts != texts
            or (not texts and network.null(len(view.classes)) != view.null),
            "schedule is another one": network.schedule.fingerprint() != view.network.schedule.fingerprint(),
            "images are of another size": network.pixels != view.network.pixels,
            "autoencoder or text encoder is another one": not same,
        }
        if found := [what for what, differs in other.items() if differs]:
            raise ConfigurationError(
                f"{path} is no model of this recipe: its {', its '.join(found)}. Give it a recipe of its own, with "
                "this folder as model.weights"
            )

    def _adapted(self, model: nn.Module) -> nn.Module:
        return model if self.adapters is None else lora.adapted(model, *self.adapters)

    def _trained(self, data: Conditioned, how: Training, phase: str, watch: Watch) -> nn.Module:
        task = replace(self.task, dropout=0.0 if self.task.null is None else how.dropout)
        return trained(self.network.build(how.seed), self.network.about(), task, data, how, phase, watch)
