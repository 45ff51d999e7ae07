"""Second and third derivatives of a loss, by differences of gradients and by repeated backward passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from unweave.gramian import Gradient, local, norm, of_blocks, parts, products, real

Terms = Sequence[tuple[float, Gradient]]
# Difference steps relative to |theta| / |v|, by (float64, central): where truncation and rounding are about equal.
_DIFFERENCE = {(False, True): 3e-4, (False, False): 1e-4, (True, True): 1e-5, (True, False): 1e-8}


class _Moving(Protocol):
    """What is asked of `unweave.objectives.Objectives`."""

    parameters: list[Tensor]

    def gradient(self, side: int) -> tuple[Tensor, Gradient]: ...
    def streamed(self, side: int, take: Callable[[int, Tensor | None], None]) -> Tensor: ...
    def snapshot(self) -> list[Tensor]: ...
    def restore(self, values: Sequence[Tensor]) -> None: ...
    def move(self, direction: Gradient, scale: float) -> None: ...


def hvp(at: _Moving, side: int, vector: Gradient, gradient: Gradient | None) -> Gradient:
    """Hessian-vector product `H_side v` by differences of gradients: first-order calls only, so it shards.

    Central, `[g(theta + h v) - g(theta - h v)] / 2h`; one-sided, `[g(theta + h v) - g(theta)] / h`, if the
    gradient at theta is given. `h` is relative to `|theta| / |v|`. The parameters are restored exactly.
    """
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


def curved(at: _Moving, side: int, terms: Terms, gradient: Gradient, into: Gradient | None) -> Gradient:
    """`into + H_side sum_i c_i v_i` by one-sided differences, written over `into`; over `gradient` where that is None.

    As `hvp`, but neither the vector nor the difference is kept: the parameters move along one term after another, and
    the gradient there is taken tensor by tensor.

    Args:
        at: the objectives.
        side: whose Hessian.
        terms: c_i and v_i.
        gradient: the side's, here.
        into: what is added to.
    """
    parameters = at.parameters
    sums = (sum((c * local(v[place]) for c, v in terms), start=0.0) for place in range(len(parameters)))
    squares = torch.stack([products(s, s) if isinstance(s, Tensor) else torch.zeros(3).double() for s in sums])
    length = float(of_blocks(squares, [0] * len(squares), parameters[0])[0, 0, 0].sqrt())
    size = max(float(norm([p.detach() for p in parameters])), 1e-3)
    if not size <= length * torch.finfo(parameters[0].dtype).max:
        return [torch.zeros_like(g) for g in gradient] if into is None else into
    h = _DIFFERENCE[real(parameters[0]).dtype == torch.float64, False] * size / length
    result = gradient if into is None else into
    begun = set[int]()

    def take(place: int, there: Tensor | None) -> None:
        own, here = local(result[place]), local(gradient[place])
        if place not in begun:
            begun.add(place)
            difference = here.neg() if there is None else local(there) - here
            own.copy_(difference.div_(h)) if into is None else own.add_(difference, alpha=1 / h)
        elif there is not None:
            own.add_(local(there), alpha=1 / h)

    before = at.snapshot()
    for c, vector in terms:
        at.move(vector, c * h)
    at.streamed(side, take)
    at.restore(before)
    return result


def contracted(loss: Tensor, parameters: Sequence[Tensor], vectors: Sequence[Gradient]) -> Sequence[Tensor]:
    """The derivatives of a loss contracted with each vector in turn, and differentiated again."""
    grads: Sequence[Tensor] = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    for v in vectors:
        inner = torch.stack([(real(g) * real(x)).sum() for g, x in zip(grads, v, strict=True)]).sum()
        if not inner.requires_grad:  # a derivative that is constant
            inner = sum((real(p).sum() * 0.0 for p in parameters), inner)
        grads = torch.autograd.grad(inner, parameters, create_graph=True, materialize_grads=True)
    return grads
