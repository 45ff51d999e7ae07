"""Who says what a drawn image shows: a small classifier that was trained here, on real images of all classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unweave.errors import ConfigurationError
from unweave.evaluation.intervals import share
from unweave.evaluation.metric import Measurement
from unweave.execution import device_of
from unweave.modalities.images import training as classifiers
from unweave.modalities.images.tensors import TensorImages
from unweave.modules import evaluating
from unweave.store import tensors_sha256
from unweave.watch import Watch, silent

LEAST = 0.9
"""The share of unseen real images that a judge has to recognise before its word counts."""
TINY, SMALL = 8, 16
"""Pixels of a side that the network of digits reads, and from which on that of photographs does."""
_BATCH = 512
_TESTED = 5  # one in so many images is for the test, where no test set is given


@dataclass(frozen=True, eq=False)
class Judge:
    """A frozen classifier of images in [-1, 1]; what is drawn beyond that range is cut, as in a picture.

    Attributes:
        network: images `[b, channels, h, w]` in [0, 1] to logits `[b, classes]`; its last linear layer is the head.
        accuracy: of the judge on real images that it was not trained on, with its interval.
        digest: SHA-256 of its weights: judgements of two judges do not compare.

    Raises:
        ConfigurationError: it recognises fewer than 90 % of those images.
    """

    network: nn.Module
    accuracy: Measurement
    digest: str

    def __post_init__(self) -> None:
        if self.accuracy.value < LEAST:
            raise ConfigurationError(
                f"the judge must recognise {100 * LEAST:g} % of real images that it was not trained on before it can "
                f"say what a model draws; found {100 * self.accuracy.value:.1f} % of {self.accuracy.n}. Give it more "
                "images of each class, or take classes that can be told apart."
            )
        self.network.requires_grad_(False).eval()

    def logits(self, images: Tensor) -> Tensor:
        """`[n, classes]`, on the CPU."""
        return self.seen(images)[0]

    def features(self, images: Tensor) -> Tensor:
        """What enters the judge's last linear layer, `[n, d]`, on the CPU."""
        return self.seen(images)[1]

    @torch.no_grad()
    def seen(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features, in one pass."""
        entered, logits = list[Tensor](), list[Tensor]()
        device = device_of(self.network)
        handle = _head(self.network).register_forward_pre_hook(lambda _, given: entered.append(given[0].cpu()))
        try:
            with evaluating(self.network):
                for part in images.split(_BATCH):
                    logits.append(self.network(_unit(part.to(device))).cpu())
        finally:
            handle.remove()
        return torch.cat(logits), torch.cat(entered)


def trained(
    images: Tensor,
    labels: Tensor,
    classes: int,
    seed: int = 0,
    watch: Watch = silent,
    *,
    test: tuple[Tensor, Tensor] | None = None,
    cache: Path | None = None,
) -> Judge:
    """A judge for images of this size, from the cache if the same one was trained before.

    Args:
        images: real ones of all classes, `[n, channels, h, w]` in [-1, 1], h = w = `TINY` or at least `SMALL`.
        labels: their classes, `[n]`.
        classes: how many there are.
        seed: of the initial weights, the order and, without a test set, of who is tested on.
        watch: told after every epoch.
        test: other images and their labels, to say how good it is; None: a fifth of the images, not trained on.
        cache: folder; None means `models` in the user's cache folder.

    Raises:
        ConfigurationError: there are no images to train or to test on, or the judge recognises too few of these.
    """
    if test is None:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        tested, rest = order[: len(order) // _TESTED], order[len(order) // _TESTED :]
        test = images[tested], labels[tested]
        images, labels = images[rest], labels[rest]
    if not len(images) or not len(test[0]):
        raise ConfigurationError(
            f"a judge needs real images to train and to be tested on; found {len(images)} and {len(test[0])}"
        )
    small = min(images.shape[2:]) < SMALL
    usual = classifiers.DIGITS if small else classifiers.CIFAR10
    how = classifiers.Training(**{**vars(usual), "seed": seed, "flip": False})
    network = classifiers.Network("digits_cnn" if small else "cifar_net", classes, images.shape[1])
    phase = "training the judge"
    watch(phase, 0, how.epochs)
    model = classifiers.trained(
        network,
        TensorImages(_unit(images), labels),
        how,
        lambda epoch: watch(phase, epoch.number, epoch.total),
        cache,
    )
    watch(phase, how.epochs, how.epochs)
    with torch.no_grad():
        right = sum(
            int((model(_unit(x)).argmax(1) == y).sum())
            for x, y in zip(test[0].split(_BATCH), test[1].split(_BATCH), strict=True)
        )
    return Judge(model, share(right, len(test[0])), tensors_sha256(model.state_dict()))


def _unit(images: Tensor) -> Tensor:
    """From [-1, 1] to [0, 1], as the networks of images have it."""
    return (images.float().clamp(-1, 1) + 1) / 2


def _head(network: nn.Module) -> nn.Module:
    """The last linear layer."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
