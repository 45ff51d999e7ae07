"""Where copies of what may move lie while nobody needs them: on the device, in the host's memory, or on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

import torch
from torch import Tensor

from unweave.devices import CPU
from unweave.sharded import local

Place = Literal["device", "host", "disk"]

HALVINGS = 2  # of a way along which something begins to hold


class Shelf:
    """Tensors of one kind after another in the same room.

    On disk it is files in the folder for temporary files (`TMPDIR`), mapped into memory, which the system writes and
    reads as it needs; they have no name, and whatever ends the process nothing is left of them. Elsewhere than on
    the device a sharded tensor is this rank's part.

    Args:
        place: where it is.
    """

    def __init__(self, place: Place = "device") -> None:
        self.place: Place = place
        self.tensors: list[Tensor] = []

    @torch.no_grad()
    def take(self, tensors: Sequence[Tensor]) -> None:
        """Copies them here, over those that were here before."""
        if self.tensors:
            _copy(self.tensors, tensors)
        elif self.place == "device":
            self.tensors = [tensor.detach().clone() for tensor in tensors]
        else:
            self.tensors = [self.room(local(tensor)) for tensor in tensors]
            _copy(self.tensors, tensors)

    @torch.no_grad()
    def restore(self, tensors: Sequence[Tensor]) -> None:
        """Copies what is here over these."""
        _copy(tensors, self.tensors)

    @torch.no_grad()
    def halfway(self, tensors: Sequence[Tensor], share: float = 0.5) -> None:
        """Moves these half the way to what is here, or another share of it; below 0 it is away from it."""
        own, here = ([local(tensor) for tensor in some] for some in (tensors, self.tensors[: len(tensors)]))
        if self.place == "device":
            torch._foreach_lerp_(own, here, share)
        else:
            for tensor, other in zip(own, here, strict=True):
                tensor.lerp_(other.to(tensor.device), share)

    def back(self, tensors: Sequence[Tensor], found: Callable[[], bool]) -> None:
        """Moves these, where it is found, towards what is here, where it is not, as far as it is still found.

        The way is halved twice, and up to twice more while it is found at every point: one that is found even at a
        sixteenth of the way does not depend on these, and they stay. `found` is asked at every point, and last at the
        one where they stay.
        """
        at, missed, nearest = 1.0, 0.0, 1.0  # shares of the way that lie before: 0 is what is here
        for turn in range(2 * HALVINGS):
            if turn >= HALVINGS and missed:
                break
            middle = (missed + nearest) / 2
            self.halfway(tensors, 1 - middle / at)
            at = middle
            if found():
                nearest = at
            else:
                missed = at
        nearest = nearest if missed else 1.0
        if at != nearest:
            self.halfway(tensors, 1 - nearest / at)
            found()

    def room(self, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Zeros of a tensor's shape, here."""
        kind = dtype or like.dtype
        if self.place == "device":
            return torch.zeros_like(like, dtype=kind)
        if self.place == "host" or not like.numel():
            return torch.zeros(like.shape, dtype=kind, device=CPU)
        handle, name = tempfile.mkstemp(prefix="unweave-")
        os.close(handle)
        made = torch.from_file(name, shared=True, size=like.numel(), dtype=kind).view(like.shape)
        with suppress(OSError):  # Windows, whose user clears the folder
            os.unlink(name)
        return made


def _copy(to: Sequence[Tensor], source: Sequence[Tensor]) -> None:
    own, other = [local(tensor) for tensor in to], [local(tensor) for tensor in source]
    if all(a.device == b.device for a, b in zip(own, other, strict=True)):
        torch._foreach_copy_(own, other)
    else:
        for a, b in zip(own, other, strict=True):
            a.copy_(b)
