"""The estimate of memory against what small networks really hold, and of Stable Diffusion without its numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.edit._nets import WIDTH, class_unet, dit, text_unet
from unweave import devices
from unweave.modalities import read
from unweave.modalities.diffusion import memory
from unweave.modalities.diffusion.lora import Lora, adapted
from unweave.modalities.diffusion.memory import activations, estimate
from unweave.modalities.diffusion.networks import Network

RECIPES = Path(__file__).parents[3] / "examples" / "recipes"
SIX = 6  # examples
SD = {
    "_class_name": "UNet2DConditionModel", "sample_size": 64, "in_channels": 4, "out_channels": 4,
    "layers_per_block": 2, "block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": 8,
    "cross_attention_dim": 768, "norm_num_groups": 32,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}  # fmt: skip
"""unet/config.json of CompVis/stable-diffusion-v1-4, what decides its shapes."""
KINDS: dict[str, Any] = {"texts": text_unet, "classes": class_unet, "DiT": dit, "adapters": text_unet}


def network(config: dict[str, Any], part: str = "unet") -> Network:
    return Network(part, config, {})


def held(model: nn.Module, **given: torch.Tensor) -> int:
    """Bytes that autograd keeps of a pass, its output included, the weights aside."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept.append(model(torch.randn(SIX, 1, 8, 8), timestep=torch.zeros(SIX, dtype=torch.int64), **given).sample)
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    return sum(size for place, size in sizes.items() if place not in own)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_pass_keeps_is_counted_without_numbers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TOKENS", 3)
    model = KINDS[kind]()
    if kind == "adapters":
        adapted(model, Lora(2))
    about = network({**model.config, "_class_name": type(model).__name__}, "transformer" if kind == "DiT" else "unet")
    empty = about.empty()
    if kind == "adapters":
        with torch.device("meta"):
            adapted(empty, Lora(2))
    texts = {"encoder_hidden_states": torch.randn(SIX, 3, WIDTH)}
    given = texts if about.texts else {"class_labels": torch.zeros(SIX, dtype=torch.int64)}
    assert activations(empty, about, SIX) == pytest.approx(held(model, **given), rel=0.05)


def test_stable_diffusion_has_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    about = network(SD)
    about = replace(about, vae={"block_out_channels": [1, 2, 3, 4], "in_channels": 3, "latent_channels": 4})
    assert sum(p.numel() for p in about.empty().parameters()) == 859_520_964
    assert about.pixels == (3, 512, 512) and about.texts
    monkeypatch.setattr(devices, "memory", lambda device: 10**12)
    found = {name: estimate(_read(name), about, None, 2) for name in ("sd-1.4-nudity-salun", "sd-1.4-van-gogh-lora")}
    whole, lora = found.values()
    weights = 4 * 859_520_964
    assert whole.weights == weights and whole.gradients == weights and whole.optimizer == 2 * weights
    assert whole.reference == 2 * weights, "the original that is compared with, and the method's"
    assert lora.reference == lora.weights == weights + lora.gradients and lora.gradients < weights / 500
    assert 5 < lora.activations / 2**30 < 7 and 13 < whole.activations / 2**30 < 15
    assert lora.total < 15 * 2**30 < whole.total < 45 * 2**30, "as the recipes say"


def test_the_network_of_the_cifar_recipes() -> None:
    about = network(json.loads((RECIPES / "ddpm-cifar10-unet.json").read_text()))
    assert sum(p.numel() for p in about.empty().parameters()) == 35_751_939
    assert about.null(10) == 10 and about.shape == (3, 32, 32)
    recipe = read(RECIPES / "ddpm-cifar10-salun.yaml", [f"data.path={RECIPES}"])
    found = estimate(recipe, about, None, 10)  # type: ignore[arg-type]
    assert found.weights == 4 * 35_751_939 and 5 < found.activations / 2**30 < 7


def _read(name: str) -> Any:
    return read(RECIPES / f"{name}.yaml")
