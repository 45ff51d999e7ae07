"""Gradients that are taken as they are made, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.graph import Node

from unweave.errors import UnsupportedError
from unweave.execution import world
from unweave.gramian import local, real
from unweave.streaming._base import Take


@contextmanager
def taking(parameters: Sequence[Tensor], take: Take) -> Iterator[None]:
    """Around one backward pass: `take` is told every gradient as it is made, which is then freed.

    Where each rank holds the whole of a parameter it is their mean, in one order on all of them: that of the parameters
    from the last to the first. FSDP2 has formed it itself.

    Args:
        parameters: leaves; the gradient that each holds by then counts too.
        take: see `Take`.
    """
    number = {id(p): place for place, p in enumerate(parameters)}
    shared = {place for place, p in enumerate(parameters) if world() > 1 and local(p) is p}
    waiting, ahead, came = dict[int, Tensor](), sorted(shared), set[int]()

    def over_ranks(last: bool = False) -> None:
        while ahead and (ahead[-1] in waiting or last):
            place = ahead.pop()
            mean = waiting.pop(place) if place in waiting else torch.zeros_like(parameters[place])
            dist.all_reduce(real(mean))
            take(place, mean.div_(world()))

    def ready(parameter: Tensor) -> None:
        place, gradient = number[id(parameter)], parameter.grad
        if place in came:
            raise UnsupportedError(
                f"the gradient of {tuple(parameter.shape)} comes in several parts (recomputed blocks that share a "
                "weight): it cannot be taken as it is made. Use memory='fast', or checkpointing with "
                "use_reentrant=False."
            )
        assert gradient is not None
        came.add(place)
        parameter.grad = None
        if place in shared:
            waiting[place] = dense(gradient)
            over_ranks()
        else:
            take(place, dense(gradient))

    hooks = [p.register_post_accumulate_grad_hook(ready) for p in parameters]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    with torch.no_grad():
        over_ranks(last=True)
        for place in range(len(parameters)):
            if place not in came and place not in shared:
                take(place, None)


def dense(gradient: Tensor) -> Tensor:
    """That of an embedding with sparse=True, or of complex weights, as others are."""
    return gradient.to_dense().resolve_conj() if gradient.layout != torch.strided or gradient.is_conj() else gradient


def interleaved(roots: Sequence[Tensor]) -> None:
    """Lets one backward pass go through several graphs side by side, from their ends to their beginnings.

    Autograd takes what was made last first: one graph to its beginning, then the next, and every weight's gradient
    would wait for its second part, as large as the model in all.
    """
    for which, root in enumerate(roots):
        nodes, ahead = dict[Node, None](), [root.grad_fn]
        while ahead:
            node = ahead.pop()
            if node is not None and node not in nodes and not _is_leaf(node):
                nodes[node] = None
                ahead += [other for other, _ in node.next_functions]
        for rank, node in enumerate(sorted(nodes, key=lambda node: node._sequence_nr())):
            node._set_sequence_nr(len(roots) * rank + which)  # type: ignore[attr-defined]


def _is_leaf(node: Node) -> bool:
    return hasattr(node, "variable")
