"""A reference model (the original, or one retrained without the forget set): trained once and kept, or read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unweave.arguments import SEEDS, fault
from unweave.errors import ConfigurationError, told
from unweave.modalities.images import networks
from unweave.modalities.images.tensors import TensorImages
from unweave.modalities.weights import read, with_tensors
from unweave.store import keep_tensors, kept_about, kept_tensors, place_of

VERSION = 1
"""Part of every fingerprint: raise it when a change of this file changes the weights it gives."""


@dataclass(frozen=True)
class Training:
    """How a reference model is trained: SGD with Nesterov momentum, the learning rate straight up, then down.

    Args:
        epochs: passes over the data.
        batch: examples per step.
        lr: highest learning rate, reached after `warmup` of all steps.
        momentum: of SGD.
        weight_decay: of SGD, on all parameters.
        warmup: share of the steps in which the learning rate rises.
        flip: mirror images left to right at random.
        shift: move images by up to so many pixels in both directions at random.
        seed: of the initial weights, the order of the data and the augmentation.

    Raises:
        ConfigurationError: numbers out of range, all of them at once.
    """

    epochs: int
    batch: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.25
    flip: bool = False
    shift: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        faults = [
            f"training.{name} must be {wanted}, found {getattr(self, name)}"
            for name, wanted, met in (
                ("epochs", "at least 1", self.epochs >= 1),
                ("batch", "at least 1", self.batch >= 1),
                ("lr", "above 0", self.lr > 0),
                ("momentum", "above 0 and below 1", 0 < self.momentum < 1),
                ("weight_decay", "at least 0", self.weight_decay >= 0),
                ("warmup", "above 0 and below 1", 0 < self.warmup < 1),
                ("shift", "at least 0", self.shift >= 0),
                ("seed", f"in {SEEDS}", not fault("seed", self.seed, int, SEEDS)),
            )
            if not met
        ]
        if faults:
            raise ConfigurationError(faults)

    def examples(self, count: int) -> int:
        """That a training goes through, of a set of so many."""
        return self.epochs * count


DIGITS = Training(epochs=40, batch=64, lr=0.1, weight_decay=0.0)
CIFAR10 = Training(epochs=18, batch=125, lr=0.1, flip=True, shift=2)


@dataclass(frozen=True)
class Network:
    """A catalogue network and its size; see `unweave.modalities.images.networks.build`."""

    name: str
    classes: int
    channels: int

    def build(self, seed: int = 0) -> nn.Module:
        """The untrained network; the initial weights depend on `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return networks.build(self.name, classes=self.classes, channels=self.channels)


@dataclass(frozen=True, eq=False)
class Epoch:
    """What `progress` is told after every epoch."""

    number: int
    total: int
    loss: float
    seconds: float
    model: nn.Module


def train(
    model: nn.Module, data: TensorImages, recipe: Training, progress: Callable[[Epoch], None] | None = None
) -> nn.Module:
    """Train `model` in place on `data` with cross entropy and return it in eval mode.

    The global random state is left as it was, and the result does not depend on it.

    Raises:
        ConfigurationError: no data, labels that the output does not fit, or a loss that stopped being finite.
    """
    if not len(data):
        raise ConfigurationError("the training set must hold at least one example, found 0: check the split")
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )
    per_epoch, shape = -(-len(data) // recipe.batch), " x ".join(map(str, data.images.shape[1:]))
    total, step, start = recipe.epochs * per_epoch, 0, time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        for number in range(1, recipe.epochs + 1):
            model.train()
            summed = 0.0
            for rows in torch.randperm(len(data), generator=generator).tensor_split(per_epoch):
                images, labels = data.batch(rows)
                with told(f"network: it cannot run on images of {shape}", "Name another, or another size of images."):
                    logits = model(_augmented(images, recipe, generator))
                if step == 0:
                    _check_fit(logits, data)
                loss = F.cross_entropy(logits, labels)
                optimizer.zero_grad()
                loss.backward()
                step += 1
                optimizer.param_groups[0]["lr"] = recipe.lr * _triangle(step / total, recipe.warmup)
                optimizer.step()
                summed += loss.item() * len(rows)
            mean = summed / len(data)
            if not mean < float("inf"):
                raise ConfigurationError(f"training diverged in epoch {number} (loss {mean}): lower lr={recipe.lr}")
            if progress:
                progress(Epoch(number, recipe.epochs, mean, time.perf_counter() - start, model.eval()))
    return model.eval()


def trained(
    network: Network,
    data: TensorImages,
    recipe: Training,
    progress: Callable[[Epoch], None] | None = None,
    cache: Path | None = None,
) -> nn.Module:
    """The network trained on `data`, read from the cache if the same training was done before.

    Args:
        network: what to build; its initial weights come from `recipe.seed`.
        data: exactly the examples and labels to train on.
        recipe: how.
        progress: told after every epoch; not called for a model from the cache.
        cache: folder; None means `models` in the user's cache folder.
    """
    model, about = network.build(recipe.seed), _about(network, data, recipe)
    path = place_of(about, cache)
    if (weights := kept_tensors(path)) is None:
        start = time.perf_counter()
        train(model, data, recipe, progress)
        spent = {"examples": len(data), "seconds": time.perf_counter() - start}
        keep_tensors(path, model.state_dict(), about | spent)
    else:
        model.load_state_dict(weights)
    return model.eval()


def seconds_spent(network: Network, data: TensorImages, recipe: Training, cache: Path | None = None) -> float | None:
    """How long the training took whose model the cache keeps; None if it keeps none."""
    noted = record(network, data, recipe, cache)
    return None if noted is None else float(noted["seconds"])


def record(network: Network, data: TensorImages, recipe: Training, cache: Path | None = None) -> dict[str, Any] | None:
    """What the cache notes of a trained model, `seconds` and the `sha256` of its file included; None without one."""
    noted = kept_about(place_of(_about(network, data, recipe), cache))
    return noted if noted is not None and "seconds" in noted else None


def _about(network: Network, data: TensorImages, recipe: Training) -> dict[str, object]:
    """Everything that decides a model's weights."""
    about = {"version": VERSION, "network": asdict(network), "training": asdict(recipe), "data": data.fingerprint()}
    made_of = networks.about(network.name)
    return {**about, "made of": made_of} if made_of else about


def _check_fit(logits: Tensor, data: TensorImages) -> None:
    if logits.ndim != 2:
        raise ConfigurationError(f"the network must give logits [b, classes], found {list(logits.shape)}")
    if data.labels.min() < 0 or data.labels.max() >= logits.shape[1]:
        raise ConfigurationError(
            "labels must be at least 0 and below the number of logits: the network gives "
            f"{logits.shape[1]} logits, labels are {int(data.labels.min())} to {int(data.labels.max())}"
        )


def _triangle(done: float, warmup: float) -> float:
    return done / warmup if done < warmup else (1 - done) / (1 - warmup)


def _augmented(images: Tensor, recipe: Training, generator: torch.Generator) -> Tensor:
    count, height, width = len(images), images.shape[2], images.shape[3]
    if recipe.flip:
        mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    if recipe.shift:
        padded = F.pad(images, (recipe.shift,) * 4, mode="reflect")
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        down, right = torch.randint(2 * recipe.shift + 1, (2, count), generator=generator)
        images = windows[torch.arange(count), :, down, right]
    return images


def with_weights(network: Network, path: Path) -> nn.Module:
    """The network with the weights of a safetensors file, of a folder that holds `model.safetensors`, or of a run's.

    Raises:
        ConfigurationError: not a safetensors file, not of this network, or not finite.
    """
    file, weights = read(path)
    return with_tensors(network.build(), weights, file, network.name)
