"""The catalogue of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unweave.errors import ConfigurationError, suggest
from unweave.extras import require
from unweave.pretrained import NO_CODE

STEM = 36  # channels after the stem


def _group(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
    )


class CifarNet(nn.Module):
    """Stem of overlapping 4x4 patches, three groups of two convolutions, a linear head: 0.4 M parameters.

    The groups follow Jordan, "94% on CIFAR-10 in 3.29 Seconds" (arXiv 2404.00498), narrower; the learned stem has
    stride 2, which quarters their cost, so that one CPU core trains it on CIFAR-10 in minutes.

    Args:
        classes: number of logits.
        channels: channels of the images [b, channels, h, w], h and w at least 16.
        widths: channels after each of the three groups.
    """

    def __init__(self, classes: int, channels: int = 3, widths: tuple[int, int, int] = (48, 96, 128)) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, STEM, 4, stride=2, padding=1), nn.GELU())
        self.groups = nn.Sequential(*(_group(a, b) for a, b in zip((STEM, *widths), widths, strict=False)))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [b, classes] of images [b, channels, h, w]."""
        features = self.groups(self.stem(images.contiguous(memory_format=torch.channels_last)))
        return self.head(features.amax((2, 3)))


class DigitsCNN(nn.Module):
    """Two convolutions with a pooling between them, one hidden layer; no normalisation layers.

    Large enough to memorise a tenth of scikit-learn's digits under wrong labels, small enough to do so in
    seconds.

    Args:
        classes: number of logits.
        channels: channels of the images [b, channels, 8, 8].
    """

    def __init__(self, classes: int, channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 64, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(64 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [b, classes] of images [b, channels, 8, 8]."""
        return self.head(self.features(images))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: the identity, or a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Features [b, inputs, h, w] to [b, outputs, h / stride, w / stride]."""
        inner = F.relu(self.norm1(self.conv1(features)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(features))


class ResNet(nn.Module):
    """A 3x3 stem without pooling, stages of basic blocks, global average pooling and a linear head.

    He et al., "Deep Residual Learning for Image Recognition" (arXiv 1512.03385), section 4.2, with 1x1
    convolutions as shortcuts where the paper's CIFAR networks pad with zeros.

    Args:
        classes: number of logits.
        channels: channels of the images [b, channels, h, w].
        depths: blocks in each stage.
        widths: channels of each stage; every stage after the first halves the resolution.
    """

    def __init__(self, classes: int, channels: int, depths: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        blocks, inputs = [], widths[0]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            for number in range(depth):
                blocks.append(BasicBlock(inputs, width, stride=2 if stage and not number else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [b, classes] of images [b, channels, h, w]."""
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))


def resnet20(classes: int, channels: int = 3) -> ResNet:
    """ResNet-20: 272,474 parameters in 65 tensors for ten classes of colour images."""
    return ResNet(classes, channels, depths=(3, 3, 3), widths=(16, 32, 64))


def resnet18(classes: int, channels: int = 3) -> ResNet:
    """ResNet-18 with the CIFAR stem: 11,173,962 parameters for ten classes of colour images."""
    return ResNet(classes, channels, depths=(2, 2, 2, 2), widths=(64, 128, 256, 512))


NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "digits_cnn": DigitsCNN,
    "cifar_net": CifarNet,
    "resnet20": resnet20,
    "resnet18": resnet18,
}


class Logits(nn.Module):
    """The logits alone of an image classifier of `transformers`.

    Args:
        classifier: whose output has `logits`.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Logits [b, classes] of images [b, channels, h, w]."""
        logits: Tensor = self.classifier(pixel_values=images).logits
        return logits


def build(name: str, classes: int, channels: int = 3) -> nn.Module:
    """An untrained network that maps images [b, channels, h, w] to logits [b, classes].

    Args:
        name: a key of `NETWORKS`, or `timm:NAME`, or `torchvision:NAME`, or `transformers:NAME`, a folder with a
            config.json or a name on the hub, of which nothing but the configuration is read.
        classes: number of logits.
        channels: channels of the images; torchvision's models take 3 only.

    Raises:
        ConfigurationError: no network has this name, or it cannot take these channels.
        UnsupportedError: timm, torchvision or transformers is not installed.
    """
    library, _, model = name.partition(":")
    if name in NETWORKS:
        return NETWORKS[name](classes, channels)
    if library == "timm":
        timm = require("timm", extra="timm")
        if not timm.is_model(model):
            raise ConfigurationError(f"timm has no model {model!r}.{suggest(model, timm.list_models())}")
        return timm.create_model(model, num_classes=classes, in_chans=channels)
    if library == "torchvision":
        models = require("torchvision.models", extra="timm")
        if model not in models.list_models():
            raise ConfigurationError(f"torchvision has no model {model!r}.{suggest(model, models.list_models())}")
        if channels != 3:
            raise ConfigurationError(f"torchvision's models take 3 channels, the images have {channels}")
        return models.get_model(model, num_classes=classes)
    if library == "transformers":
        return _of_transformers(model, classes, channels)
    raise ConfigurationError(
        f"network must be one of {', '.join(NETWORKS)}, timm:NAME, torchvision:NAME or transformers:NAME, "
        f"found {name!r}.{suggest(name, NETWORKS)}"
    )


def about(name: str) -> dict[str, Any]:
    """What decides a network beside its name: what its configuration says; empty where the name says it all.

    Raises:
        ConfigurationError: it cannot be read.
        UnsupportedError: transformers is not installed.
    """
    library, _, model = name.partition(":")
    if library != "transformers":
        return {}
    with _readable(model):
        told = _transformers().AutoConfig.from_pretrained(model, **NO_CODE).to_diff_dict()
    return {key: value for key, value in told.items() if key != "transformers_version"}


def _of_transformers(name: str, classes: int, channels: int) -> nn.Module:
    """An image classifier by its configuration, whose number of classes and channels are those of the images."""
    transformers = _transformers()
    with _readable(name):
        config = transformers.AutoConfig.from_pretrained(name, num_labels=classes, **NO_CODE)
        if hasattr(config, "num_channels"):
            config.num_channels = channels
        made: nn.Module = transformers.AutoModelForImageClassification.from_config(config, **NO_CODE)
    return Logits(made)


def _transformers() -> Any:
    return require("transformers", extra="language")


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Whatever transformers and the hub's client raise inside is one message."""
    try:
        yield
    except Exception as error:
        told = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ConfigurationError(
            f"network: transformers:{name}: expected a folder with the config.json of an image classifier, from where "
            f"the command is started, or its name on the hub; it cannot be read ({type(error).__name__}: {told[:200]})"
        ) from error
