"""What a device has of a batch is on the host too: whoever needs its values in Python need not wait for the device.

A tensor that `copied` brings to a device keeps its twin on the host for as long as it lives. Once it was written to,
it has none, and its values are read from the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_TWINS = WeakIdKeyDictionary()  # tensors of a device: the host's, and the versions that are alike


def copied(leaf: Any, device: torch.device | str) -> Any:
    """A tensor on a device, without waiting for it; anything else as it is."""
    if not isinstance(leaf, Tensor):
        return leaf
    there = leaf.to(device, non_blocking=True)
    if leaf.device.type == "cpu" and there is not leaf:
        _remember(there, leaf)
    return there


def on_host(tensor: Tensor) -> Tensor:
    """The values on the CPU."""
    twin = _twin(tensor)
    return tensor.cpu() if twin is None else twin


def follows(tensor: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """What a function makes of a tensor; its twin follows."""
    made, twin = change(tensor), _twin(tensor)
    if made is not tensor and twin is not None:
        _remember(made, change(twin))
    return made


def places(chosen: Tensor, device: torch.device) -> tuple[Tensor, ...]:
    """Where a mask on the host is true, as indices on a device: `x[mask]` would wait there for how many there are."""
    return tuple(each.to(device, non_blocking=True) for each in chosen.nonzero(as_tuple=True))


def _twin(tensor: Tensor) -> Tensor | None:
    if tensor.device.type == "cpu":
        return tensor
    twin, *versions = _TWINS.get(tensor, (None,))
    return twin if twin is not None and versions == _versions(tensor, twin) else None


def _remember(there: Tensor, here: Tensor) -> None:
    if not (there.is_inference() or here.is_inference()):  # these count no versions
        _TWINS[there] = here, *_versions(there, here)


def _versions(there: Tensor, here: Tensor) -> list[int]:
    return [there._version, here._version]
