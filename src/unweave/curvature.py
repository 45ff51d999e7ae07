"""Second and third derivatives of a loss, by differences of gradients and by repeated backward passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from unweave.gramian import Gradient, norm, parts, real

# Difference steps relative to |theta| / |v|, by (float64, central): where truncation and rounding are about equal.
_DIFFERENCE = {(False, True): 3e-4, (False, False): 1e-4, (True, True): 1e-5, (True, False): 1e-8}


class _Moving(Protocol):
    """What is asked of `unweave.objectives.Objectives`."""

    parameters: list[Tensor]

    def gradient(self, side: int) -> tuple[Tensor, Gradient]: ...
    def snapshot(self) -> list[Tensor]: ...
    def restore(self, values: Sequence[Tensor]) -> None: ...
    def move(self, direction: Gradient, scale: float) -> None: ...


def hvp(at: _Moving, side: int, vector: Gradient, gradient: Gradient | None) -> Gradient:
    """`Objectives.hvp`."""
    length, size = float(norm(vector)), max(float(norm([p.detach() for p in at.parameters])), 1e-3)
    if size > length * torch.finfo(at.parameters[0].dtype).max:  # no h of this precision would do
        return [torch.zeros_like(v) for v in vector]
    h = _DIFFERENCE[real(at.parameters[0]).dtype == torch.float64, gradient is None] * size / length
    before = at.snapshot()
    at.move(vector, h)
    difference = at.gradient(side)[1]
    if gradient is None:
        at.restore(before)
        at.move(vector, -h)
        gradient, h = at.gradient(side)[1], 2 * h
    at.restore(before)
    torch._foreach_sub_(parts(difference), parts(gradient))
    torch._foreach_div_(parts(difference), h)
    return difference


def contracted(loss: Tensor, parameters: Sequence[Tensor], vectors: Sequence[Gradient]) -> Sequence[Tensor]:
    """The derivatives of a loss contracted with each vector in turn, and differentiated again."""
    grads: Sequence[Tensor] = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    for v in vectors:
        inner = torch.stack([(real(g) * real(x)).sum() for g, x in zip(grads, v, strict=True)]).sum()
        if not inner.requires_grad:  # a derivative that is constant
            inner = sum((real(p).sum() * 0.0 for p in parameters), inner)
        grads = torch.autograd.grad(inner, parameters, create_graph=True, materialize_grads=True)
    return grads
