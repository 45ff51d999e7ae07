"""Everything a recipe names, loaded and checked: data, request, network, original model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from unweave.data import sources
from unweave.data.checks import check_overlap
from unweave.data.images import Source, TensorImages
from unweave.data.index_file import read_rows
from unweave.data.poison import poison_random
from unweave.data.splits import Split, by_index, by_random_fraction, hardness_mix
from unweave.errors import ConfigurationError, suggest
from unweave.run.recipe import ForgetSection, Recipe
from unweave.run.training import CIFAR10, DIGITS, Epoch, Network, Training, seconds_spent, trained
from unweave.run.watch import Watch, silent
from unweave.tasks import Vision

DEFAULTS = {
    "digits": ("digits_cnn", DIGITS),
    "cifar10": ("cifar_net", CIFAR10),
    "image_folder": ("cifar_net", CIFAR10),
}
"""What is trained on a source, and how, where the recipe does not say."""


@dataclass(frozen=True, eq=False)
class Request:
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
        holdout: test examples that are exchangeable with the forget set: its labels in their proportions, and labels
            made wrong in the same way, where the request is to forget wrong ones; None where nobody made it.
    """

    text: str
    train: TensorImages
    test: TensorImages
    split: Split
    network: Network
    training: Training
    holdout: TensorImages | None = None
    held: tuple[np.ndarray, np.ndarray] | None = None
    task: Vision = field(default_factory=Vision)

    @cached_property
    def forget(self) -> TensorImages:
        """The examples to forget."""
        return self.train.subset(self.split.forget)

    @cached_property
    def retain(self) -> TensorImages:
        """The examples to keep."""
        return self.train.subset(self.split.retain)

    def original(self, watch: Watch = silent) -> nn.Module:
        """The network trained on everything, from the cache if it was before."""
        return self._trained(self.train, self.training, "training the original", watch)

    def retrained(self, seed: int, watch: Watch = silent) -> nn.Module:
        """The network trained on the retain set alone, from the cache if it was before."""
        training = replace(self.training, seed=seed)
        return self._trained(self.retain, training, f"retraining without the forget set (seed {seed})", watch)

    def retrain_seconds(self, seed: int) -> float | None:
        """How long `retrained` took when it was trained; None if it never was."""
        return seconds_spent(self.network, self.retain, replace(self.training, seed=seed))

    def _trained(self, data: TensorImages, training: Training, phase: str, watch: Watch) -> nn.Module:
        def progress(epoch: Epoch) -> None:
            watch(phase, epoch.number, epoch.total)

        watch(phase, 0, training.epochs)
        model = trained(self.network, data, training, progress)
        watch(phase, training.epochs, training.epochs)
        return model


def request(recipe: Recipe, source: Source | None = None) -> Request:
    """Loads the data of a recipe, if they are not given, and splits them as it asks.

    Raises:
        ConfigurationError: the data cannot be read, or the request does not fit them.
    """
    source = sources.load(recipe.data.source, recipe.data.path) if source is None else source
    usual_network, usual_training = DEFAULTS[recipe.data.source]
    wanted = recipe.forget
    assert wanted is not None, "a sequence asks for one request at a time"
    text, train, split = _split(wanted, source)
    if recipe.already:
        split = without(split, [row for each in recipe.already for row in _split(each, source)[2].forget])
    network = Network(recipe.model.network or usual_network, len(source.classes), train.images.shape[1])
    training = replace(usual_training, **recipe.training.arguments)
    holdout = exchangeable(source.test, train.labels[split.forget])
    if wanted.poison is not None:
        holdout = mislabelled(source.test, len(source.classes), wanted.seed)
    made = Request(text, train, source.test, split, network, training, holdout)
    check_overlap(made.forget, made.retain)
    return made


def without(split: Split, rows: Sequence[int]) -> Split:
    """A split of the rows that earlier requests have left.

    Raises:
        ConfigurationError: they have left nothing to forget, or nothing to keep.
    """
    gone = np.asarray(rows)
    return Split(np.setdiff1d(split.forget, gone), np.setdiff1d(split.retain, gone))


def _split(wanted: ForgetSection, source: Source) -> tuple[str, TensorImages, Split]:
    """The request in words, the training set (poisoned, if asked for), and its rows to forget and to keep."""
    train, seed = source.train, wanted.seed
    if wanted.class_ is not None:
        classes = _classes(wanted.class_, source.classes)
        names = ", ".join(source.classes[k] for k in classes if k < len(source.classes))
        text = f"class {names}" + (f", {100 * wanted.mix:g} % of it replaced by random rows" if wanted.mix else "")
        return text, train, hardness_mix(train.labels, classes, wanted.mix, seed)
    if wanted.indices is not None:
        return f"the rows in {wanted.indices.name}", train, by_index(read_rows(wanted.indices), len(train))
    if wanted.random is not None:
        text = f"a random {100 * wanted.random:g} % of the training set"
        return text, train, by_random_fraction(len(train), wanted.random, seed)
    assert wanted.poison is not None, "the recipe holds exactly one of them"
    labels, rows = poison_random(train.labels, wanted.poison, len(source.classes), seed)
    text = f"wrong labels, planted in {100 * wanted.poison:g} % of the training set"
    return text, train.relabelled(labels), by_index(rows, len(train))


def exchangeable(test: TensorImages, labels: Tensor) -> TensorImages:
    """As many test examples as there are with the labels of the forget set in their proportions."""
    wanted = labels.bincount(minlength=int(test.labels.max()) + 1).double() / len(labels)
    there = test.labels.bincount(minlength=len(wanted))
    whole = (there / wanted)[wanted > 0].min()  # so many would use up the scarcest label
    rows = [
        (test.labels == label).nonzero().flatten()[: int(share * whole + 1e-6)] for label, share in enumerate(wanted)
    ]
    return test.subset(torch.cat(rows).sort().values)


def mislabelled(test: TensorImages, classes: int, seed: int) -> TensorImages:
    """The test examples, each with a wrong label drawn as `poison_random` draws it."""
    shift = np.random.default_rng([seed, 1]).integers(1, classes, len(test))
    return test.relabelled((test.labels.numpy() + shift) % classes)


def _classes(wanted: int | str | tuple[int | str, ...], names: Sequence[str]) -> list[int]:
    """Class numbers; a name stands for its number."""
    every = wanted if isinstance(wanted, tuple) else (wanted,)
    unknown = [each for each in every if isinstance(each, str) and each not in names]
    if unknown:
        raise ConfigurationError(
            [f"no class is named {each!r}.{suggest(each, names)} There are: {', '.join(names)}." for each in unknown]
        )
    return [names.index(each) if isinstance(each, str) else each for each in every]


def original(recipe: Recipe, request: Request, watch: Watch = silent) -> nn.Module:
    """The model to unlearn: the recipe's weights, or one trained as the recipe says.

    Raises:
        ConfigurationError: the weights do not fit the network.
    """
    path = recipe.model.weights
    return request.original(watch) if path is None else with_weights(request.network, path)


def with_weights(network: Network, path: Path) -> nn.Module:
    """The network with the weights of a safetensors file, or of a folder that holds `model.safetensors`.

    Raises:
        ConfigurationError: not a safetensors file, not of this network, or not finite.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    model = network.build()
    try:
        weights = safetensors.torch.load_file(file)
        model.load_state_dict(weights)
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{file}: cannot be read as safetensors: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        raise ConfigurationError(
            f"{file}: these weights are not of network '{network.name}': {_misfit(model, weights)}"
        ) from error
    broken = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise ConfigurationError(
            f"{file}: weights are not finite in {len(broken)} of {len(weights)} tensors ({broken[0]}, ...)"
        )
    return model.eval()


def _misfit(model: nn.Module, weights: dict[str, Tensor]) -> str:
    """How the names and shapes of the weights differ from the model's, the first of each kind."""
    own = model.state_dict()
    common = sorted(own.keys() & weights.keys())
    kinds = {
        "missing": sorted(own.keys() - weights.keys()),
        "unknown": sorted(weights.keys() - own.keys()),
        "of another shape": [name for name in common if own[name].shape != weights[name].shape],
    }
    found = [f"{len(n)} {kind} ({n[0]}{', ...' if n[1:] else ''})" for kind, n in kinds.items() if n]
    return ", ".join(found)
