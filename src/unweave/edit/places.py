"""Where the condition enters a model: the matrices and tables that an edit changes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unweave.data.batches import Batch
from unweave.errors import ConfigurationError
from unweave.execution import device_of
from unweave.modules import evaluating
from unweave.tasks import Diffusion
from unweave.tasks._denoisers import words

MAPS = ("attn2.to_k", "attn2.to_v")
"""How the names of the linear maps of a text condition end in the models of diffusers: keys, values."""
TABLES = ("class_embedding", "class_embedder.embedding_table")
"""How the names of the tables of classes end there: UNet2DModel, DiT."""
Kind = TypeVar("Kind", nn.Linear, nn.Embedding)


def places(model: nn.Module, ends: tuple[str, ...], kind: type[Kind]) -> dict[str, Kind]:
    """The modules whose names end so and whose weights may move, each weight once.

    Raises:
        ConfigurationError: there are none, all are frozen, or one is of another kind or carries adapters.
    """
    named = {name: module for name, module in model.named_modules() if name.endswith(ends)}
    if not named:
        raise ConfigurationError(
            f"the model has no module *{' or *'.join(ends)}, so there is nothing that uce could edit for these "
            "conditions. Choose a method with steps."
        )
    found: dict[int, tuple[str, Kind]] = {}
    for name, module in named.items():
        if hasattr(module, "base_layer"):
            raise ConfigurationError(
                f"{name} carries adapters (LoRA), and uce edits the matrix itself: merge them first "
                "(merge_and_unload, fuse_lora), or pass the model without them."
            )
        if not isinstance(module, kind) or not module.weight.is_floating_point():
            raise ConfigurationError(
                f"{name} must be a torch.nn.{kind.__name__} with weights that are floating point numbers for uce; "
                f"found {type(module).__name__}."
            )
        if module.weight.requires_grad:
            found.setdefault(id(module.weight), (name, module))
    if not found:
        raise ConfigurationError(
            f"all {len(named)} weights that uce could edit are frozen ({next(iter(named))} is the first). Set "
            "requires_grad_(True) on them, or let parameters= name some."
        )
    return dict(found.values())


def check_reached(model: nn.Module, task: Diffusion, maps: Mapping[str, nn.Linear], batch: Batch) -> None:
    """Refuses matrices that one pass does not give the condition as it is: unused, or behind something else.

    Raises:
        ConfigurationError: there is one.
    """
    device, seen = device_of(model), dict[str, Tensor]()

    def note(name: str, module: nn.Module, given: tuple[Any, ...]) -> None:
        seen.setdefault(name, given[0])

    hooks = [module.register_forward_pre_hook(partial(note, name)) for name, module in maps.items()]
    try:
        with torch.no_grad(), evaluating(model):
            one = {key: each[:1].to(device) for key, each in batch.items() if isinstance(each, Tensor)}
            noised = task.draw(one, dropout=False)
            task.predict(model, noised)
    finally:
        for hook in hooks:
            hook.remove()
    for name in maps:
        if name not in seen:
            raise ConfigurationError(
                f"{name} has no part in the model's forward, so its edit would change nothing. Where projections were "
                "fused, undo it (unfuse_qkv_projections)."
            )
        own = noised.condition.to(seen[name])
        if seen[name].shape != own.shape or not seen[name].equal(own):
            raise ConfigurationError(
                f"{name} must be given the condition as it is, {words(own[0])}, and gets {list(seen[name].shape)[1:]} "
                "that something before it has made of it: uce edits linear maps of the condition. Choose a method with "
                "steps."
            )
