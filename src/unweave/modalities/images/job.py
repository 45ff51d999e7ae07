"""All that a recipe of images names, loaded and checked, and training images that several requests name some of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from unweave.contract.sets import halves
from unweave.data.checks import check_overlap
from unweave.data.splits import Split, by_index, hardness_mix, without
from unweave.errors import gathered
from unweave.evaluation import gaps
from unweave.evaluation.outputs import Outputs, predict
from unweave.evaluation.scores import score_outputs
from unweave.evaluation.signal import signals
from unweave.modalities import by_row
from unweave.modalities._base import Data, Json, Membership, Rows, Scored, Sheet
from unweave.modalities.images import sources
from unweave.modalities.images.image_folder import png
from unweave.modalities.images.recipe import ImageForget, ImageRecipe, poison_random
from unweave.modalities.images.tensors import Source, TensorImages, check_unseen
from unweave.modalities.images.training import Epoch, Network, Training, record, seconds_spent, trained, with_weights
from unweave.modules import copied
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import OpenSection
from unweave.store import atomically
from unweave.tasks import Classification
from unweave.watch import Watch, silent


@dataclass(frozen=True, eq=False)
class ImageJob:
    """Data, what is to be forgotten of it, and how models of it are trained.

    Attributes:
        text: the request in words.
        train: all training examples, with the labels that the original was trained on.
        test: examples of the same distribution that no model is trained on.
        split: rows of `train` to forget and to retain.
        network: what is trained.
        training: how.
        held: rows of `train` on which no step trains, guard and final set of the contract; None: taken from the retain
            set.
        also: rows of `train` on no side that retrained models learn, too; of a proxy request.
        holdout: test examples that are exchangeable with the forget set: its labels in their proportions, and labels
            made wrong in the same way, where the request is to forget wrong ones; None where nobody made it.
        scoring: seed of the scores.
    """

    text: str
    train: TensorImages
    test: TensorImages
    split: Split
    network: Network
    training: Training
    holdout: TensorImages | None = None
    also: np.ndarray | None = None
    held: tuple[np.ndarray, np.ndarray] | None = None
    task: Classification = field(default_factory=Classification)
    scoring: int = 0
    notes: tuple[str, ...] = ()
    looked: int = 2000

    @cached_property
    def forget(self) -> TensorImages:
        """The examples to forget."""
        return self.train.subset(self.split.forget)

    @cached_property
    def retain(self) -> TensorImages:
        """The examples to keep."""
        return self.train.subset(self.split.retain)

    @cached_property
    def without(self) -> TensorImages:
        """What retrained models learn."""
        if self.also is None:
            return self.retain
        return self.train.subset(np.sort(np.concatenate([self.split.retain, self.also])))

    def original(self, watch: Watch = silent) -> nn.Module:
        """The network trained on everything, from the cache if it was before."""
        return self._trained(self.train, self.training, "training the original", watch)

    def retrained(self, seed: int, watch: Watch = silent) -> nn.Module:
        """The network trained on the retain set alone, from the cache if it was before."""
        training = replace(self.training, seed=seed)
        return self._trained(self.without, training, f"retraining without the forget set (seed {seed})", watch)

    def seeded(self, seed: int) -> ImageJob:
        """The same, whose original is trained from this seed."""
        return replace(self, training=replace(self.training, seed=seed))

    def within(self, rows: np.ndarray, split: Split) -> ImageJob:
        """The same among these rows of the training set; `split` is of them."""
        return replace(self, train=self.train.subset(rows), split=split, held=None)

    def noted(self, seed: int, *, without: bool = False) -> Mapping[str, Any] | None:
        """What the cache notes of the model of this seed that was trained on all, or without the forget set."""
        return record(self.network, self.without if without else self.train, replace(self.training, seed=seed))

    def retrain_seconds(self, seed: int) -> float | None:
        """How long `retrained` took when it was trained; None if it never was."""
        return seconds_spent(self.network, self.without, replace(self.training, seed=seed))

    def prints(self) -> dict[str, str]:
        """SHA-256 of the training, the test and the forget set, and of what is held out."""
        return by_row.prints({"train": self.train, "test": self.test, "forget": self.forget}, self.held)

    def resolved(self, recipe: Recipe) -> dict[str, Any]:
        """The training and the network."""
        model = recipe.model.model_copy(update={"network": self.network.name})
        return {"training": OpenSection(**asdict(self.training)), "model": model}

    def divided(self) -> tuple[TensorImages, dict[str, TensorImages]]:
        """The retain set without what is held out, and that."""
        return by_row.divided(self.train, self.retain, self.split, self.held)

    def opened(self, path: Path | None, watch: Watch = silent) -> nn.Module:
        """The original, or the network with the weights of a file or folder."""
        if path is None:
            return self.original(watch)
        return with_weights(self.network, path)

    def movable(self, model: nn.Module) -> nn.Module:
        """A copy."""
        return copied(model)

    def reference(self, number: int, watch: Watch = silent) -> nn.Module:
        """Retrained from a seed of its own."""
        return self.retrained(self.training.seed + number, watch)

    def reference_seconds(self) -> float | None:
        """Of the first retrained model."""
        return self.retrain_seconds(self.training.seed + 1)

    def retraining(self) -> tuple[float | None, int | None]:
        """Of a retrained model that is there, or of the original by the share of examples."""
        epochs = self.training.epochs
        for seed in range(self.training.seed, self.training.seed + 3):
            if (known := self.retrain_seconds(seed)) is not None:
                return known, epochs
        known = seconds_spent(self.network, self.train, self.training)
        return None if known is None else known * len(self.retain) / len(self.train), epochs

    def scoring_seconds(self, model: nn.Module) -> None:
        """Nobody looked."""

    def score(self, model: nn.Module, name: str = "", folder: Path | None = None, watch: Watch = silent) -> Scored:
        """On what it should have lost, what it should have kept, and unseen examples; nothing is kept."""
        return self.scored(self.outputs(model))

    def outputs(self, model: nn.Module) -> dict[str, Outputs]:
        """What the model says of forget, retain and test set: one inference pass per example."""
        sets = {"forget": self.forget, "retain": self.retain, "test": self.test}
        return {name: predict(model, self.task, data, name=name) for name, data in sets.items()}

    def scored(self, outputs: Mapping[str, Outputs]) -> Scored:
        """The scores of a model that was asked already."""
        return Scored(score_outputs(**outputs, seed=self.scoring))

    def gaps(self, sheet: Sheet, retrained: Sheet) -> Sheet:
        """In UA, RA, TA and the attack."""
        return gaps(sheet, retrained)

    def save(self, model: nn.Module, folder: Path) -> None:
        """Writes `model.safetensors`, the state dict."""
        tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        atomically(folder / "model.safetensors", safetensors.torch.save(tensors))

    def rows(self, side: str) -> list[int]:
        """Those of the training set; of the holdout, their places."""
        if side == "holdout":
            return list(range(len(self.holdout or ())))
        return [int(row) for row in self._rows(side)]

    def odds(self, model: nn.Module, side: str, places: Sequence[int]) -> Tensor:
        """From the logits."""
        if side == "holdout" and self.holdout is not None:
            data = self.holdout.subset(list(places))
        else:
            data = self.train.subset(self._rows(side)[np.asarray(places, dtype=np.int64)])
        return -torch.from_numpy(predict(model, self.task, data).margin)

    def shown(self, side: str, place: int) -> Json:
        """Label and picture."""
        row = int(self._rows(side)[place])
        return {"label": int(self.train.labels[row]), "png": png(self.train.images[row])}

    def memory(self) -> None:
        """A network of images is small."""

    def leave(self, folder: Path) -> None:
        """Pictures are in `examples.json` already."""

    def _rows(self, side: str) -> np.ndarray:
        return self.split.forget if side == "forget" else self.split.retain

    def _trained(self, data: TensorImages, training: Training, phase: str, watch: Watch) -> nn.Module:
        def progress(epoch: Epoch) -> None:
            watch(phase, epoch.number, epoch.total)

        watch(phase, 0, training.epochs)
        model = trained(self.network, data, training, progress)
        watch(phase, training.epochs, training.epochs)
        return model


def sheet(model: nn.Module, request: ImageJob, seed: int) -> Sheet:
    """Every score of a classifier, on what it should have lost, what it should have kept, and unseen examples."""
    return replace(request, scoring=seed).score(model).scores


def request(recipe: ImageRecipe, source: Source | None = None) -> ImageJob:
    """Loads the images of a recipe, if they are not given, and splits them as it asks.

    Raises:
        ConfigurationError: the data cannot be read, or the request does not fit them.
    """
    source = _loaded(recipe) if source is None else source
    usual, wanted = sources.SOURCES[recipe.data.source], recipe.forget
    assert wanted is not None, "a sequence asks for one request at a time"
    network = Network(recipe.model.network or usual.network, len(source.classes), source.train.images.shape[1])
    splits = [partial(split_of, each, source) for each in (wanted, *recipe.already)]
    (text, train, split), *others = gathered(*splits, partial(_check_weights, recipe, network))
    if earlier := others[: len(recipe.already)]:
        split = without(split, [row for _, _, each in earlier for row in each.forget])
    training = replace(usual.training, **recipe.training.arguments)
    holdout = by_row.exchangeable(source.test, train.labels[split.forget])
    if wanted.poison is not None:
        holdout = mislabelled(source.test, len(source.classes), wanted.seed)
    made = ImageJob(text, train, source.test, split, network, training, holdout, scoring=recipe.evaluation.seed)
    gathered(partial(check_overlap, made.forget, made.retain), partial(check_unseen, made.test, made.train))
    return made


def split_of(wanted: ImageForget, source: Source) -> tuple[str, TensorImages, Split]:
    """The request in words, the training set (poisoned, if asked for), and its rows to forget and to keep."""
    train, seed = source.train, wanted.seed
    if wanted.class_ is not None:
        classes = by_row.class_numbers(wanted.class_, source.classes)
        names = ", ".join(source.classes[k] for k in classes if k < len(source.classes))
        text = f"class {names}" + (f", {100 * wanted.mix:g} % of it replaced by random rows" if wanted.mix else "")
        return text, train, hardness_mix(train.labels, classes, wanted.mix, seed)
    if wanted.poison is None:
        text, split = by_row.split_of(wanted, len(train))
        return text, train, split
    labels, rows = poison_random(train.labels, wanted.poison, len(source.classes), seed)
    text = f"wrong labels, planted in {100 * wanted.poison:g} % of the training set"
    return text, train.relabelled(labels), by_index(rows, len(train))


def mislabelled(test: TensorImages, classes: int, seed: int) -> TensorImages:
    """The test examples, each with a wrong label drawn as `poison_random` draws it."""
    shift = np.random.default_rng([seed, 1]).integers(1, classes, len(test))
    return test.relabelled((test.labels.numpy() + shift) % classes)


def _check_weights(recipe: ImageRecipe, network: Network) -> None:
    recipe.check_models()
    if recipe.model.weights is not None:
        with_weights(network, recipe.model.weights)


@dataclass(frozen=True)
class ImageRecords:
    """The training images of a source."""

    source: Source

    def fingerprint(self) -> str:
        """Of the training images."""
        return self.source.train.fingerprint()

    def ids(self) -> None:
        """Nobody says."""

    def named(self, recipe: ImageRecipe) -> Rows:
        """As the recipe's own splitting has it."""
        assert recipe.forget is not None
        return split_of(recipe.forget, self.source)[2].forget

    def job(self, recipe: ImageRecipe) -> ImageJob:
        """On the images that are there."""
        return request(recipe, self.source)

    def rows(self, job: ImageJob) -> Rows:
        """Of the split."""
        return job.split.forget

    def holding(self, jobs: Sequence[ImageJob], rows: tuple[Rows, Rows]) -> list[ImageJob]:
        """By row of the training set."""
        guard, final = (jobs[-1].split.retain[part] for part in rows)
        return [replace(job, held=(guard, final)) for job in jobs]

    def once_more(self, last: ImageJob, others: Sequence[ImageJob]) -> ImageJob:
        """With a holdout of the labels of all."""
        rows = np.unique(np.concatenate([other.split.forget for other in others]))
        return replace(
            last,
            text=f"{len(others)} earlier requests once more",
            split=replace(last.split, forget=rows),
            holdout=by_row.exchangeable(last.test, last.train.labels[rows]),
        )

    def digests(self, rows: Rows) -> list[bytes]:
        """Of an image as it is stored, and its label."""
        chosen = self.source.train.subset(rows)
        images, labels = chosen.images.contiguous().numpy(), chosen.labels.numpy()
        pairs = zip(images, labels, strict=True)
        return [hashlib.sha256(image.tobytes() + label.tobytes()).digest() for image, label in pairs]

    def apart(self, job: ImageJob) -> Sequence[Data]:
        """Retain and test set."""
        return job.retain, job.test

    def membership(self, job: ImageJob, model: nn.Module, seed: int) -> Membership | None:
        """The loss, and the pixels."""
        if job.holdout is None:
            return None
        rows = halves(job.holdout, seed)[1]
        holdout = job.holdout if rows is None else job.holdout.subset(rows)
        outputs = [predict(model, job.task, data) for data in (job.forget, holdout)]
        forget, unseen = (signals(o.logits.numpy(), o.labels.numpy())["loss"] for o in outputs)
        return Membership(forget, unseen, (job.forget.images.numpy(), holdout.images.numpy()))


def training_set(recipe: ImageRecipe) -> ImageRecords:
    """The training set that a recipe names.

    Raises:
        ConfigurationError: it cannot be read.
    """
    return ImageRecords(_loaded(recipe))


def _loaded(recipe: ImageRecipe) -> Source:
    data = recipe.data
    return sources.load(data.source, data.path, data.config, data.size)
