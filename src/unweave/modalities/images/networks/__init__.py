"""Small reference networks, and models of timm and torchvision by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from unweave.errors import ConfigurationError, suggest
from unweave.extras import require
from unweave.modalities.images.networks.cifar_net import CifarNet
from unweave.modalities.images.networks.digits_cnn import DigitsCNN
from unweave.modalities.images.networks.resnet import resnet18, resnet20

NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "digits_cnn": DigitsCNN,
    "cifar_net": CifarNet,
    "resnet20": resnet20,
    "resnet18": resnet18,
}


def build(name: str, classes: int, channels: int = 3) -> nn.Module:
    """An untrained network that maps images [b, channels, h, w] to logits [b, classes].

    Args:
        name: a key of `NETWORKS`, or `timm:NAME`, or `torchvision:NAME`.
        classes: number of logits.
        channels: channels of the images; torchvision's models take 3 only.

    Raises:
        ConfigurationError: no network has this name, or it cannot take these channels.
        UnsupportedError: timm or torchvision is not installed.
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
    raise ConfigurationError(
        f"network must be one of {', '.join(NETWORKS)}, timm:NAME or torchvision:NAME, "
        f"found {name!r}.{suggest(name, NETWORKS)}"
    )
