"""Low-rank adapters of a text-conditional UNet, kept in the file that diffusers' pipelines load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from unweave.errors import ConfigurationError
from unweave.extras import require
from unweave.modalities.diffusion.frozen import line
from unweave.store import atomically

FILE = "pytorch_lora_weights.safetensors"
_PREFIX = "unet."


@dataclass(frozen=True)
class Lora:
    """Adapters that start at zero, so that the model is the same until they move.

    Args:
        rank: of each update.
        alpha: its scale is `alpha / rank`; None is the rank, as in diffusers' training scripts.
        targets: how the names of the linear layers end; the default are the attention's, as there.

    Hu et al., ICLR 2022 (arXiv:2106.09685).
    """

    rank: int = 4
    alpha: float | None = None
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")


def adapted(model: nn.Module, how: Lora, seed: int = 0) -> nn.Module:
    """The model with adapters, which alone may move, in place; their first half is drawn from the seed.

    Raises:
        ConfigurationError: diffusers puts none on such a model, or a target that no layer has.
    """
    peft, own = require("peft", "diffusion"), _adaptable(model)
    ends = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if missing := [each for each in how.targets if not any(f".{name}".endswith(f".{each}") for name in ends)]:
        raise ConfigurationError(f"model.lora.targets: no linear layer is named {', '.join(missing)}")
    alpha = how.rank if how.alpha is None else how.alpha
    settings = peft.LoraConfig(
        r=how.rank, lora_alpha=alpha, target_modules=list(how.targets), init_lora_weights="gaussian"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        own.requires_grad_(False).add_adapter(settings)
    return model


def save(model: nn.Module, folder: Path) -> None:
    """Writes the file that `pipe.load_lora_weights(folder)` loads.

    What scales the adapters goes into them, in the model too: a reader who takes alpha for the rank, as all versions of
    diffusers do where the file says nothing, has the same weights.
    """
    own = _adaptable(model)
    _absorb(own)
    state = require("peft.utils", "diffusion").get_peft_model_state_dict(own)
    state = {name: each.detach().cpu() for name, each in state.items()}
    named = require("diffusers.utils", "diffusion").convert_state_dict_to_diffusers(state)
    content = {f"{_PREFIX}{name}": each.contiguous() for name, each in named.items()}
    atomically(folder / FILE, safetensors.torch.save(content, {"format": "pt"}))


@torch.no_grad()
def _absorb(own: Any) -> None:
    """`B <- (alpha / r) B`, and alpha the rank from then on."""
    ((name, settings),) = own.peft_config.items()
    for module in own.modules():
        if name in getattr(module, "scaling", ()):
            module.lora_B[name].weight.mul_(module.scaling[name])
            module.scaling[name], module.lora_alpha[name] = 1.0, settings.r
    settings.lora_alpha = settings.r


def loaded(model: nn.Module, folder: Path) -> nn.Module:
    """The model with the adapters of a folder, which alone may move, in place.

    Raises:
        ConfigurationError: they cannot be read, or are of another model.
    """
    utils, own = require("peft.utils", "diffusion"), _adaptable(model)
    try:
        state = _read(folder / FILE)
        downs = {name.split(".lora_A")[0]: each for name, each in state.items() if ".lora_A." in name}
        adapted(own, Lora(next(iter(downs.values())).shape[0], targets=tuple(sorted(downs))))
        told = utils.set_peft_model_state_dict(own, state)
    except ConfigurationError:
        raise
    except Exception as error:  # whatever safetensors and peft raise for a damaged file, or one of another model
        raise ConfigurationError(f"{folder / FILE} cannot be read: {line(error)}") from error
    odd = [*told.unexpected_keys, *(name for name in told.missing_keys if "lora_" in name)]
    if odd or not all(bool(each.isfinite().all()) for each in state.values()):
        raise ConfigurationError(f"{folder / FILE}: {odd[0] + ' does not fit the model' if odd else 'is not finite'}")
    return model


def _read(file: Path) -> dict[str, Tensor]:
    every = safetensors.torch.load_file(file)
    own = {name.removeprefix(_PREFIX): each for name, each in every.items() if name.startswith(_PREFIX)}
    found: dict[str, Tensor] = require("diffusers.utils", "diffusion").convert_unet_state_dict_to_peft(own)
    if not found or not all(".lora_A." in name or ".lora_B." in name for name in found):
        raise ConfigurationError(f"{file} holds no adapters of a UNet under {_PREFIX}*")
    return found


def _adaptable(model: nn.Module) -> Any:
    if not hasattr(model, "add_adapter"):
        raise ConfigurationError(
            f"model.lora: diffusers puts adapters on UNet2DConditionModel, and not on {type(model).__name__}: leave it "
            "out, and let model.parameters name the weights that may move"
        )
    return model
