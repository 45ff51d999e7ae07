"""One request to a diffusion model: the images, the models, and what they are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unweave.data.splits import Split
from unweave.errors import ConfigurationError
from unweave.modalities import by_row
from unweave.modalities._base import Json, Rows, Scored, Sheet
from unweave.modalities.diffusion import networks
from unweave.modalities.diffusion.data import Conditioned
from unweave.modalities.diffusion.evaluation import cost, scores
from unweave.modalities.diffusion.evaluation.exam import Exam
from unweave.modalities.diffusion.evaluation.grid import grid
from unweave.modalities.diffusion.evaluation.judge import Judge
from unweave.modalities.diffusion.evaluation.judge import trained as judge
from unweave.modalities.diffusion.networks import Network
from unweave.modalities.diffusion.recipe import DiffusionEvaluation
from unweave.modalities.diffusion.recognised import Recognised
from unweave.modalities.diffusion.training import Training, record, seconds_spent, trained
from unweave.modalities.images.image_folder import png
from unweave.modalities.images.tensors import Source
from unweave.modules import copied
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import OpenSection
from unweave.store import atomically
from unweave.tasks import Diffusion
from unweave.watch import Watch, silent

GRID = "grid.png"


def gone(labels: Tensor, split: Split) -> tuple[int, ...]:
    """Classes of the forget set that no retain example has."""
    forget, retain = (set(labels[rows].tolist()) for rows in (split.forget, split.retain))
    return tuple(sorted(forget - retain))


@dataclass(frozen=True, eq=False)
class DiffusionJob:
    """Images, what is to be forgotten of them, and how models of them are trained and judged.

    Attributes:
        text: the request in words.
        source: the images as they are, with the names of their classes.
        train: the training images with their conditions.
        test: images of the same distribution that no model was trained on.
        split: rows of `train` to forget and to retain.
        holdout: test images of the classes of the forget set in their proportions.
        gone: classes that no retain image has: those to forget whole.
        network: what is unlearned.
        origin: the folder that it came from; None where it is trained here.
        training: how models are trained; None where nobody knows how the original was.
        how: the recipe's evaluation.
        held: rows of `train` on which no step trains, guard and final set of the contract; None: taken from the retain
            set.
        notes: what the user has to know of the request.
        looked: retain examples that the quote looks at, at most.
    """

    text: str
    source: Source
    train: Conditioned
    test: Conditioned
    split: Split
    holdout: Conditioned
    gone: tuple[int, ...]
    network: Network
    origin: Path | None
    training: Training | None
    how: DiffusionEvaluation
    held: tuple[Rows, Rows] | None = None
    notes: tuple[str, ...] = ()
    looked: int = 300

    @cached_property
    def forget(self) -> Conditioned:
        """The examples to forget."""
        return self.train.subset(self.split.forget)

    @cached_property
    def retain(self) -> Conditioned:
        """The examples to keep."""
        return self.train.subset(self.split.retain)

    @property
    def kept(self) -> tuple[int, ...]:
        """Classes of the retain set: what is to be forgotten whole, now or by earlier requests, is not among them."""
        return tuple(sorted(set(self.train.condition[self.split.retain].tolist())))

    @cached_property
    def task(self) -> Diffusion:
        """The schedule of the model, its null condition, and how its images are recognised."""
        null = self.network.null(len(self.source.classes))
        dropout = 0.0 if null is None or self.training is None else self.training.dropout
        others = torch.tensor(self.kept) if len(self.kept) < len(self.source.classes) else None
        plain = Diffusion(self.network.schedule, null, dropout, others=others)
        shape = tuple(self.train.x0.shape[1:])
        how = self.how
        seen = Recognised(lambda: self.judge, plain, shape, how.sampling_steps, how.guidance, how.seed)
        return replace(plain, recognised=seen)

    @cached_property
    def judge(self) -> Judge:
        """Trained on all training images, to forget or not, and tested on the test images; from the cache if it was."""
        return self._judge(silent)

    @cached_property
    def exam(self) -> Exam:
        """What every model is asked."""
        test = self.test.subset(torch.isin(self.test.condition, torch.tensor(self.kept)).nonzero().flatten())
        sets = {"forget": self.forget, "retain": self.retain, "test": test}
        return Exam(
            task=self.task,
            judge=self.judge,
            real=test.x0,
            sets=sets | ({"unseen": self.holdout} if self.gone and len(self.holdout) else {}),
            kept=self.kept,
            forgotten=self.gone,
            images=self.how.images,
            kept_images=self.how.images // 2,
            steps=self.how.sampling_steps,
            guidance=self.how.guidance,
            looks=self.how.looks,
            seed=self.how.seed,
        )

    def prints(self) -> dict[str, str]:
        """SHA-256 of the training, the test and the forget set, and of what is held out."""
        return by_row.prints({"train": self.train, "test": self.test, "forget": self.forget}, self.held)

    def resolved(self, recipe: Recipe) -> dict[str, Any]:
        """The training, where it is known."""
        return {} if self.training is None else {"training": OpenSection(**asdict(self.training))}

    def divided(self) -> tuple[Conditioned, dict[str, Conditioned]]:
        """The retain set without what is held out, and that."""
        return by_row.divided(self.train, self.retain, self.split, self.held)

    def opened(self, path: Path | None, watch: Watch = silent) -> nn.Module:
        """The original, or the weights of a run; the judge is there from then on."""
        if "judge" not in vars(self):
            vars(self)["judge"] = self._judge(watch)
        if path is not None:
            return networks.opened(*networks.read(path))
        if self.origin is not None:
            return networks.opened(self.network, self.origin)
        assert self.training is not None, "what came from no folder is trained"
        return self._trained(self.train, self.training, "training the original", watch)

    def movable(self, model: nn.Module) -> nn.Module:
        """A copy."""
        return copied(model)

    def reference(self, number: int, watch: Watch = silent) -> nn.Module | None:
        """Trained on the retain set alone, from a seed of its own; None where nobody knows how the original was."""
        if self.training is None:
            return None
        return self.retrained(self.training.seed + number, watch)

    def retrained(self, seed: int, watch: Watch = silent) -> nn.Module:
        """Trained on the retain set alone from this seed, or from the cache.

        Raises:
            ConfigurationError: nobody knows how the original was trained.
        """
        how = replace(self.how_trained, seed=seed)
        return self._trained(self.retain, how, f"retraining without the forget set (seed {how.seed})", watch)

    @property
    def how_trained(self) -> Training:
        """See `training`.

        Raises:
            ConfigurationError: nobody knows.
        """
        if self.training is None:
            raise ConfigurationError(
                "training: nobody says how the model in model.weights was trained, so that others like it cannot be: "
                "give the recipe a training section"
            )
        return self.training

    def seeded(self, seed: int) -> DiffusionJob:
        """The same, whose original is trained from this seed."""
        return self._like(training=replace(self.how_trained, seed=seed), origin=None)

    def within(self, rows: Rows, split: Split) -> DiffusionJob:
        """The same among these rows of the training set; `split` is of them. The judge stays."""
        train = self.train.subset(rows)
        return self._like(train=train, split=split, held=None, gone=gone(train.condition, split))

    def noted(self, seed: int, *, without: bool = False) -> Mapping[str, Any] | None:
        """What the cache notes of the model of this seed that was trained on all, or without the forget set."""
        how = replace(self.how_trained, seed=seed)
        return record(self.network.about(), self.retain if without else self.train, how)

    def _like(self, **changed: Any) -> DiffusionJob:
        made = replace(self, **changed)
        vars(made)["judge"] = self.judge
        return made

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: what is derived is derived there again, but for the judge."""
        return {name: each for name, each in vars(self).items() if name in {*self.__dataclass_fields__, "judge"}}

    def reference_seconds(self) -> float | None:
        """Of the first retrained model."""
        if self.training is None:
            return None
        return seconds_spent(self.network.about(), self.retain, replace(self.training, seed=self.training.seed + 1))

    def retraining(self) -> tuple[float | None, int | None]:
        """Of the retrained model that is there, or of the original: both take the same steps."""
        if self.training is None:
            return None, None
        passes = max(1, round(self.training.steps * self.training.batch / len(self.train)))
        return self.reference_seconds() or seconds_spent(self.network.about(), self.train, self.training), passes

    def scoring_seconds(self, model: nn.Module) -> float:
        """Of what it draws and denoises, and of the attacks."""
        return cost.seconds(model, self.exam, self.how.attack)

    def score(self, model: nn.Module, name: str = "", folder: Path | None = None, watch: Watch = silent) -> Scored:
        """What it draws, as the judge sees it, and what it denoises; of each model one row of images is kept."""
        found = scores.score(model, self.exam, self.how.attack, watch, f"{name} model")
        self._rows[name] = self._row(model)
        return found

    def gaps(self, sheet: Sheet, retrained: Sheet) -> Sheet:
        """In UA, RA, the membership attack and the condition search."""
        return scores.gaps(sheet, retrained)

    def save(self, model: nn.Module, folder: Path) -> None:
        """A folder as diffusers writes it, in the layout that the model came in."""
        self.network.save(model, folder, self.origin)

    def rows(self, side: str) -> list[int]:
        """Those of the training set; of the holdout, their places."""
        return list(range(len(self.holdout))) if side == "holdout" else self._side(side).tolist()

    def odds(self, model: nn.Module, side: str, places: Sequence[int]) -> Tensor:
        """That an image which the model draws for an example's condition, from its noise, is not recognised."""
        data = self.holdout.subset(list(places)) if side == "holdout" else self.train.subset(self._side(side)[places])
        seen = self.task.recognised
        assert isinstance(seen, Recognised)
        return seen.odds(model, data.batch(range(len(data)))) if len(data) else torch.zeros(0, dtype=torch.float64)

    def shown(self, side: str, place: int) -> Json:
        """Class and picture."""
        row = int(self._side(side)[place])
        return {"label": int(self.train.condition[row]), "png": png(self.source.train.images[row])}

    def memory(self) -> None:
        """A network of small images is small."""

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
        return torch.cat([self.exam.drawn(model, (each,), 1) for each in self._asked])

    def _side(self, side: str) -> Rows:
        return self.split.forget if side == "forget" else self.split.retain

    def _judge(self, watch: Watch) -> Judge:
        sides = self.train, self.test
        (x, labels), test = ((data.x0, data.condition) for data in sides)
        return judge(x, labels, len(self.source.classes), 0, watch, test=test)

    def _trained(self, data: Conditioned, how: Training, phase: str, watch: Watch) -> nn.Module:
        task = replace(self.task, dropout=0.0 if self.task.null is None else how.dropout)
        return trained(self.network.build(how.seed), self.network.about(), task, data, how, phase, watch)
