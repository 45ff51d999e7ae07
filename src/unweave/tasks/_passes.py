"""How a causal language model is run: what its forward takes, its blocks, and gradient checkpointing in eval mode."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unweave.data.batches import Batch
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.sharded import is_sharded

_OF_TOKENS = ("input_ids", "attention_mask", "labels", "position_ids")  # one number per token


def inner(model: nn.Module) -> nn.Module:
    """The model inside wrappers (DDP, a reference's, `torch.compile`, PEFT), whose forward says what it takes."""
    for name in ("module", "_orig_mod"):
        if isinstance(wrapped := getattr(model, name, None), nn.Module):
            return inner(wrapped)
    base = getattr(model, "get_base_model", None)
    return base() if callable(base) else model


def takes(model: nn.Module, name: str) -> bool:
    """Whether the model's own forward has such a parameter."""
    return name in inspect.signature(type(inner(model)).forward).parameters


def attends_to_all(model: nn.Module) -> bool:
    """Whether the configuration speaks of no layer that attends to a window, a chunk or a state."""
    config = getattr(inner(model), "config", None)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) and not getattr(config, "layer_types", None)
    return kinds == {"full_attention"} and not windowed


def to_the_front(batch: Batch) -> Batch:
    """The same rows, each turned so that its first attended token is the first: padding before it goes to the end.

    Causal models do not see what comes later, so a row gives what it gives alone, whatever is made of positions.
    """
    mask = batch["attention_mask"]
    first = (mask != 0).int().argmax(1, keepdim=True)
    order = (torch.arange(mask.shape[1], device=mask.device) + first) % mask.shape[1]
    return {**batch, **{name: batch[name].gather(1, order) for name in _OF_TOKENS if name in batch}}


def forward(model: nn.Module, batch: Batch, **more: object) -> Any:
    """One pass over a batch of tokens, without a cache of keys and values."""
    own = inner(model)
    if takes(own, "use_cache"):
        more["use_cache"] = False
    if "position_ids" in batch:
        if not takes(own, "position_ids"):
            raise ConfigurationError(
                f"the batch has position_ids, and the forward of {type(own).__name__} takes none: leave them out, or "
                "pass a model that takes them."
            )
        more["position_ids"] = batch["position_ids"]
    with _checkpointed(own):
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **more)


def block_output(model: nn.Module, batch: Batch, layer: int | None) -> Tensor:
    """What block `layer` gives, `[b, t, d]`; what is above it is not run where that can be avoided."""
    own = inner(model)
    blocks = _blocks(own)
    if layer is None:
        layer = min(7, max(len(blocks) // 2 - 1, 0))
    if not 0 <= layer < len(blocks) - 1:
        raise ConfigurationError(
            f"layer must be at least 0 and below the last of the model's {len(blocks)} blocks; found {layer}."
        )
    if is_sharded(own) or any(getattr(m, "gradient_checkpointing", False) for m in blocks):
        return forward(model, batch, output_hidden_states=True).hidden_states[layer + 1]
    return _until(blocks[layer + 1], model, batch)


def _blocks(model: nn.Module) -> nn.ModuleList:
    """The stack of transformer blocks: the list of modules that is as long as the model is deep."""
    depth = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise UnsupportedError(f"{type(model).__name__} has no list of num_hidden_layers={depth} blocks to look into.")


class _Reached(Exception):
    """Carries what a block was given out of the pass."""


def _until(block: nn.Module, model: nn.Module, batch: Batch) -> Tensor:
    """What enters `block`; nothing from there on is run."""

    def leave(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Reached(args[0] if args else kwargs["hidden_states"])

    handle = block.register_forward_pre_hook(leave, with_kwargs=True)
    try:
        forward(model, batch)
    except _Reached as reached:
        return reached.args[0]
    finally:
        handle.remove()
    raise UnsupportedError(f"{type(inner(model)).__name__} never ran {type(block).__name__}.")


@contextmanager
def _checkpointed(model: nn.Module) -> Iterator[None]:
    """Blocks with gradient checkpointing switched on use it in eval mode too, where transformers ignores it."""
    chosen = [
        block
        for stack in model.modules()
        if isinstance(stack, nn.ModuleList)
        for block in stack
        if getattr(block, "gradient_checkpointing", False) and not block.training
    ]
    chosen = chosen if torch.is_grad_enabled() else []
    for block in chosen:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in chosen:
            del block.forward
