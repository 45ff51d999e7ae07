"""A direction that is kept, and one that is made again to be followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unweave.errors import UnsupportedError
from unweave.gramian import local, norm
from unweave.streaming._base import LEAN, Passes, Take


class Kept:
    """A direction that is kept: in `.grad`, a number for each that may move."""

    def __init__(self, passes: Passes) -> None:
        self._passes, self._gradient = passes, passes.direction()

    @torch.no_grad()
    def mask(self, tensors: Sequence[Tensor]) -> None:
        """Only these elements may move."""
        for gradient, mask in zip(self._gradient, tensors, strict=True):
            gradient.mul_(mask)

    def norm(self) -> float:
        """Its length."""
        return float(norm(self._gradient))

    def move(self, scale: float) -> None:
        """`theta += scale * direction`."""
        self._passes.move(self._gradient, scale)

    def step(self, optimizer: torch.optim.Optimizer, scale: float) -> None:
        """One step of an optimizer along it, multiplied by `scale`."""
        if scale != 1.0:
            torch._foreach_mul_(self._gradient, scale)
        self._passes.write(self._gradient)
        optimizer.step()


class Again:
    """A direction that nobody keeps: the weighted sum of both losses, whose gradient is made once more to move along.

    Args:
        passes: at the pair.
        weights: of the sides that have a part in it.
        length: of it.
    """

    def __init__(self, passes: Passes, weights: Mapping[int, float], length: float) -> None:
        self._passes, self._weights, self._length = passes, weights, length

    def mask(self, tensors: Sequence[Tensor]) -> None:
        """Its length would be another, which nobody knows."""
        raise UnsupportedError(f"memory='least' keeps no direction that could be masked. {LEAN}")

    def norm(self) -> float:
        """Its length."""
        return self._length

    def move(self, scale: float) -> None:
        """`theta += scale * direction`, each tensor as soon as its gradient is there."""

        def take(place: int, gradient: Tensor | None) -> None:
            if gradient is not None:
                local(self._passes.parameters[place]).add_(local(gradient), alpha=scale)

        self._along(take)

    def step(self, optimizer: torch.optim.Optimizer, scale: float) -> None:
        """The optimizer's step tensor by tensor, multiplied by `scale`; it sees a zero where there is no gradient."""

        def take(place: int, gradient: Tensor | None) -> None:
            p = self._passes.parameters[place]
            p.grad = torch.zeros_like(p) if gradient is None else gradient.mul_(scale) if scale != 1.0 else gradient
            optimizer.step()
            p.grad = None

        self._along(take)

    def _along(self, take: Take) -> None:
        if self._weights and self._length:
            self._passes.together(self._weights, take)
        else:
            nothing(len(self._passes.parameters), take)


@torch.no_grad()
def nothing(count: int, take: Take) -> None:
    """Tells that there is no gradient."""
    for place in range(count):
        take(place, None)
