"""How much memory a run on a diffusion model will need, from its configuration alone: no weight is read for it."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from safetensors import safe_open
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from unweave.modalities.diffusion.frozen import ENCODER, VAE, WEIGHTS, Frozen
from unweave.modalities.diffusion.lora import Lora, adapted
from unweave.modalities.diffusion.networks import Network
from unweave.modalities.diffusion.recipe import DiffusionRecipe
from unweave.modalities.memory import FLOAT, Memory, kept_by, method_of, moving_of, peak
from unweave.oneshot import ONESHOT
from unweave.tasks import Diffusion

TOKENS = 77  # of a text's embeddings, where no tokenizer has been read


def estimate(recipe: DiffusionRecipe, network: Network, frozen: Frozen | None, classes: int) -> Memory:
    """The memory of a recipe's steps, in float32.

    Counted are the weights of the network and, once more, of the original that a run keeps to compare with; those of
    the losses' references; of autoencoder and text encoder; what autograd keeps of one pass over the larger side's
    micro-batch, attention fused: for that the network runs without its numbers.

    Args:
        recipe: whose model, method, step and batches count.
        network: before it has weights.
        frozen: what is around it.
        classes: of the data.
    """
    empty, model, settings = network.empty(), recipe.model, recipe.run
    method = method_of(recipe, _task(network, classes), empty)
    copies = kept_by(method)
    if network.adapters is not None or model.lora is not None:
        copies = 0  # the model without adapters stands for the original
        with torch.device("meta"):
            adapted(empty, Lora() if model.lora is None else Lora(**model.lora.model_dump()))
    whole = sum(p.numel() for p in empty.parameters())
    once = recipe.method.name in ONESHOT
    sizes = settings.forget_batch, settings.retain_batch
    examples = max(-(-size // (1 if once else settings.micro)) for size in sizes)
    tensors = moving_of(empty, model.parameters)
    return peak(
        recipe,
        method,
        tensors,
        weights=FLOAT * (whole + (0 if frozen is None else _around(frozen))),
        reference=FLOAT * whole + copies,
        activations=0 if once else activations(empty, network, examples),
        together=0 if once else activations(empty, network, sum(sizes)),
    )


def activations(empty: nn.Module, network: Network, examples: int) -> int:
    """Bytes that one forward pass keeps for its backward pass, weights aside.

    Args:
        empty: the network on the meta device.
        network: what it is.
        examples: of the pass.
    """
    own, kept = {_place(p) for p in empty.parameters()}, list[Tensor]()  # they stay alive: no place comes twice

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor), _Fused(), torch.device("meta"):
        x, t = torch.empty(examples, *network.shape), torch.empty(examples, dtype=torch.int64)
        condition: dict[str, Tensor] = {"class_labels": torch.empty(examples, dtype=torch.int64)}
        if network.texts:
            condition = {"encoder_hidden_states": torch.empty(examples, TOKENS, _width(network))}
        out = empty(x, timestep=t, **condition).sample
    sizes = {_place(each): each.untyped_storage().nbytes() for each in (*kept, out)}
    return sum(size for place, size in sizes.items() if place not in own)


def _task(network: Network, classes: int) -> Diffusion:
    """The task with conditions of the right kind, and of no size."""
    if network.texts:
        one = torch.zeros(1, 1)
        return Diffusion(network.schedule, null=one, named=lambda name: one, others=one[None])
    return Diffusion(network.schedule, null=network.null(classes) or classes, named=lambda name: 0)


def _width(network: Network) -> int:
    width = network.config["cross_attention_dim"]
    return int(width[0] if isinstance(width, list | tuple) else width)


def _around(frozen: Frozen) -> int:
    """Numbers of autoencoder and text encoder, as their files' headers say."""
    parts = [part for part, there in ((VAE, frozen.vae), (ENCODER, frozen.texts)) if there]
    return sum(_numbers(frozen.folder / part / WEIGHTS[part]) for part in parts)


def _numbers(file: Path) -> int:
    with safe_open(file, "pt") as content:
        return sum(prod(content.get_slice(name).get_shape()) for name in content.keys())  # noqa: SIM118


def _place(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Fused(TorchFunctionMode):
    """Attention as GPUs compute it, which keeps no matrix of all pairs; the meta device would."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_efficient_attention(*args[:3], None, True)[0]
        return func(*args, **(kwargs or {}))
