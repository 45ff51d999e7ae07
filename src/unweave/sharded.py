"""Models whose weights are sharded over ranks (FSDP2, `fully_shard`): how they are copied, and one layer of them whole.

No tensor of the model is ever whole here but the one that is asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

M = TypeVar("M", bound=nn.Module)
_FSDP = "torch.distributed.fsdp"


def is_sharded(model: nn.Module) -> bool:
    """Whether a parameter of it is a shard of one that several ranks hold."""
    return any(hasattr(p, "to_local") for p in model.parameters())


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor, or the tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def packed(tensor: Tensor) -> bool:
    """Whether it is integers and scales that pass for one tensor (torchao), and no shard."""
    integers = type(tensor) is not nn.Parameter and isinstance(tensor, nn.Parameter) and not tensor.is_floating_point()
    return integers or (is_traceable_wrapper_subclass(tensor) and not hasattr(tensor, "to_local"))


def sum_over_shards(total: Tensor, like: Any) -> None:
    """Adds up, in place, what each shard of `like` contributed; replicas contribute once."""
    if hasattr(like, "to_local"):
        for dim, placement in enumerate(like.placements):
            if placement.is_shard():
                dist.all_reduce(total, group=like.device_mesh.get_group(dim))


def whole(tensor: Tensor) -> Tensor:
    """All of a sharded tensor, on every rank, which must all ask; another as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def reshard(model: nn.Module) -> None:
    """Back to this rank's shards of the parameters.

    FSDP2 leaves the root gathered after a pass without a graph; its next pass would use that copy, however the shards
    have moved in the meantime.
    """
    for m in model.modules():
        if callable(back := getattr(m, "reshard", None)):
            back()


@contextmanager
def own_whole(module: nn.Module) -> Iterator[None]:
    """A module's own parameters (not those of its children) are whole inside; what is written to them then stays.

    Every rank has to write the same.
    """
    from torch.distributed.tensor import distribute_tensor

    shards = {name: p for name, p in module._parameters.items() if p is not None and hasattr(p, "to_local")}
    for name, p in shards.items():
        module._parameters[name] = nn.Parameter(whole(p.detach()), p.requires_grad)
    try:
        yield
        with torch.no_grad():
            for name, p in shards.items():
                now = module._parameters[name]
                assert now is not None and not isinstance(p, torch.nn.parameter.UninitializedParameter)
                mine: Any = p
                p.copy_(distribute_tensor(now.detach(), mine.device_mesh, mine.placements, src_data_rank=None))
    finally:
        module._parameters.update(shards)


def shard(model: M) -> M:
    """Shards the model in place over all processes: the entries of its outermost lists of modules (blocks) by
    themselves, the rest with the root. A tensor is whole during a pass of its part alone.
    """
    from torch.distributed.fsdp import fully_shard

    for block in _blocks(model):
        fully_shard(block, mesh=mesh(), reshard_after_forward=True)
    fully_shard(model, mesh=mesh(), reshard_after_forward=True)
    return model


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (block for block in child.children() if any(True for _ in block.parameters()))
        else:
            yield from _blocks(child)


@cache
def mesh() -> Any:
    """All processes in a row."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh("cuda" if "nccl" in str(dist.get_backend_config()) else "cpu", (dist.get_world_size(),))


def part(tensor: Tensor) -> Tensor:
    """Of a whole tensor this rank's share, as a sharded tensor: along the first dimension, as `shard` does it."""
    from torch.distributed.tensor import Shard, distribute_tensor

    return distribute_tensor(tensor.to(mesh().device_type), mesh(), [Shard(0)], src_data_rank=None)


class Spread(NamedTuple):
    """How a tensor is sharded: over which ranks, along which dimension, and the shape of the whole."""

    mesh: Any
    placements: Any
    shape: torch.Size


def spread(tensor: Any) -> Spread | None:
    """How it is; None of a whole one."""
    return Spread(tensor.device_mesh, tensor.placements, tensor.shape) if hasattr(tensor, "to_local") else None


def alike(own: Tensor, how: Spread | None) -> Tensor:
    """A rank's own part of a tensor that is sharded so, as that tensor; of a complex one the real view, with an axis
    more. A whole tensor is itself.
    """
    if how is None:
        return own
    from torch.distributed.tensor import DTensor

    shape = how.shape if own.ndim == len(how.shape) else torch.Size([*how.shape, 2])
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(own, how.mesh, how.placements, run_check=False, shape=shape, stride=stride)


@torch.no_grad()
def assign(own: Tensor, value: Tensor) -> None:
    """Writes a whole tensor into one that may be sharded; every rank holds it."""
    if hasattr(own, "to_local") and not hasattr(value, "to_local"):
        from torch.distributed.tensor import distribute_tensor

        mine: Any = own
        value = distribute_tensor(value.to(own.device), mine.device_mesh, mine.placements, src_data_rank=None)
    own.copy_(value)


def unsharded(model: M, first: bool) -> M | None:
    """A copy of a sharded model that the first rank holds whole, in the host's memory; all ranks take part.

    One tensor after the other is gathered; no rank but the first keeps any. A model that is not sharded is returned.

    Args:
        model: of all ranks.
        first: whether this is the rank that gets it; the others get None.
    """
    if not is_sharded(model):
        return model
    memo: dict[int, Any] = {}
    made = _skeleton(model, memo)[0] if first else None
    for p in [p for p in model.parameters() if hasattr(p, "to_local")]:
        value = whole(p.detach())
        if first:
            memo[id(p)] = nn.Parameter(value.cpu(), p.requires_grad)
    if made is not None:
        _give(model, made, memo)
        made.cpu()
    return made


def copied_alike(model: M, memo: dict[int, Any]) -> M:
    """A copy of a model that is sharded alike: `deepcopy` refuses, so it is built anew without weights, then sharded.

    Args:
        model: any of whose modules `fully_shard` was called on.
        memo: what `deepcopy` is to take for some objects.
    """
    from torch.distributed.fsdp import fully_shard

    made, states = _skeleton(model, memo)
    shards = {id(p): p for p in model.parameters() if hasattr(p, "to_local")}
    # Sharded alike, from the leaves to the root; then every shard gets a copy of its values.
    places = {id(memo[key]): _placement(p) for key, p in shards.items()}
    for state in reversed(states):
        modules = [memo[id(module)] for module in state._modules]
        group = next(iter(_groups(state)), None)
        if group is None:
            continue
        fully_shard(
            modules if len(modules) > 1 else modules[0],
            mesh=group.mesh_info.mesh,
            reshard_after_forward=_resharded(state, group),
            shard_placement_fn=lambda p: places.get(id(p)),
            mp_policy=state._mp_policy,
            offload_policy=group.offload_policy,
            ignored_params={p for p in modules[0].parameters() if id(p) not in places},
        )
    _give(model, made, {key: nn.Parameter(p.detach().clone(), p.requires_grad) for key, p in shards.items()})
    return made


def _skeleton(model: M, memo: dict[int, Any]) -> tuple[M, list[Any]]:
    """A copy of the model as it was before it was sharded, without values; and what FSDP2 keeps about its parts.

    `memo` then says which new module, and which parameter on the meta device, stands for which old one.
    """
    from torch.distributed.fsdp import FSDPModule

    states: dict[int, Any] = {}
    classes: dict[nn.Module, type] = {}
    for module in model.modules():
        if isinstance(module, FSDPModule):
            state = module._get_fsdp_state()
            states.setdefault(id(state), state)
            classes[module] = type(module)
            for group in _groups(state):
                group._to_sharded()
    gone = object()  # stands for what FSDP keeps about the model; the copy gets its own
    memo.update(dict.fromkeys(states, gone))
    for p in model.parameters():
        if hasattr(p, "to_local"):
            memo[id(p)] = nn.Parameter(torch.empty(p.shape, dtype=p.dtype, device="meta"), p.requires_grad)
    try:
        for module, kind in classes.items():
            module.__class__ = kind.__mro__[2]  # FSDPLinear(FSDPModule, Linear)
        made = copy.deepcopy(model, memo)
    finally:
        for module, kind in classes.items():
            module.__class__ = kind
    for module in made.modules():
        _without_fsdp(module, gone)
    return made, list(states.values())


def _give(model: nn.Module, made: nn.Module, values: dict[int, Any]) -> None:
    """Puts these parameters where the model has those that they stand for, by the identity of the old ones."""
    for before, after in zip(model.modules(), made.modules(), strict=True):
        for name, own in before._parameters.items():
            if id(own) in values and hasattr(own, "to_local"):
                after._parameters[name] = values[id(own)]


def _groups(state: Any) -> list[Any]:
    return getattr(state, "_fsdp_param_groups", None) or [g for g in [getattr(state, "_fsdp_param_group", None)] if g]


def _placement(p: Any) -> Any:
    """The dimension along which it is sharded; of a replicated mesh (HSDP) the last one's."""
    return next((each for each in reversed(p.placements) if each.is_shard()), None)


def _resharded(state: Any, group: Any) -> bool | int | None:
    """`reshard_after_forward`, as it was given."""
    if getattr(state, "_auto_reshard_after_forward", False):
        return None
    after = group.post_forward_mesh_info
    if after is None or after is group.mesh_info:
        return after is not None
    return int(after.shard_mesh_size)


def _without_fsdp(module: nn.Module, gone: object) -> None:
    """Takes off a copied module what `fully_shard` hung on it."""
    own = vars(module)
    for key in [key for key in own if key.startswith("__composable_api")]:
        del own[key]
    for name, hooks in own.items():
        if name.endswith("hooks") and isinstance(hooks, dict):
            for key in [key for key, hook in hooks.items() if _of_fsdp(hook, gone)]:
                del hooks[key]


def _of_fsdp(hook: Any, gone: object) -> bool:
    hook = getattr(hook, "hook", hook)  # torch wraps some
    hook = getattr(hook, "__wrapped__", hook)
    return getattr(hook, "__self__", None) is gone or str(getattr(hook, "__module__", "")).startswith(_FSDP)
