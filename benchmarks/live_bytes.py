"""Bytes of tensors that are alive, counted and not sampled: the same on every machine and in every run."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """Bytes of all storages that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def add(self, value: Any) -> None:
        """Counts the storages of tensors in a tree, each once, until they are freed."""
        for leaf in tree_leaves(value):
            if not isinstance(leaf, Tensor) or leaf.device.type == "meta":
                continue
            storage = leaf.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in self._seen:
                continue
            self._seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.from_file.default:  # it lies on disk
            storage = made.untyped_storage()
            self._seen.add(storage._cdata)
            weakref.finalize(storage, self._seen.discard, storage._cdata)
        self.add(made)
        return made
