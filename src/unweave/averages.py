"""Averages of both gradients over the pairs of a run, in as much memory as there is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from unweave.gramian import Gradient, blend, lined_up, local, of_blocks, parts, products, real, scaled
from unweave.places import Place, Shelf
from unweave.rules._base import FORGET, RETAIN
from unweave.sharded import Spread, alike, spread

Of = Literal["both", "lean", "retain", "none"]
_AVERAGED: dict[Of, tuple[tuple[int, ...], torch.dtype | None]] = {
    "both": ((FORGET, RETAIN), None),
    "lean": ((FORGET, RETAIN), torch.bfloat16),
    "retain": ((RETAIN,), None),
    "none": ((), None),
}


@dataclass
class Averages:
    """`m_i = EMA_beta(g_i)` of the gradients, corrected for its start: a tensor of the model's size for each.

    Gradients that nobody keeps come tensor by tensor (`begin`, `more`), and the averages are read that way too.

    Attributes:
        beta: how much of the past an average keeps.
        of: "both" gradients in their precision; "lean": both in bfloat16, half of the memory where that is float32;
            "retain": the retain side's alone; "none". What is not averaged is the step's own.
        place: where they lie.
        count: pairs that are in it; after one with a gradient that is not finite they begin anew.
    """

    beta: float = 0.9
    of: Of = "both"
    place: Place = "device"
    count: int = field(default=0, init=False)
    _sums: list[list[Tensor]] = field(default_factory=list, init=False, repr=False)
    _like: Sequence[Spread | None] = field(default=(), init=False, repr=False)  # how they are sharded
    _shelf: Shelf = field(default_factory=Shelf, init=False, repr=False)

    @torch.no_grad()
    def add(self, gradients: tuple[Gradient, Gradient]) -> None:
        """One more pair, which stays as it is."""
        for sums, own in self._sides(gradients):
            torch._foreach_lerp_(sums, [g.to(m) for g, m in zip(own, sums, strict=True)], 1 - self.beta)
        self.count += 1

    @torch.no_grad()
    def begin(self, side: int, like: Sequence[Tensor]) -> None:
        """One more pair, whose gradients come tensor by tensor (`more`), this side's next."""
        sides = _AVERAGED[self.of][0]
        self._open(like)
        self.count += side == sides[0]
        torch._foreach_mul_(self._sums[sides.index(side)], self.beta)

    @torch.no_grad()
    def more(self, side: int, place: int, gradient: Tensor | None) -> None:
        """A tensor of it, or a micro-batch's part."""
        if gradient is not None:
            own = self._sums[_AVERAGED[self.of][0].index(side)][place]
            own.add_(real(local(gradient)).to(own), alpha=1 - self.beta)

    @torch.no_grad()
    def over(self, gradients: tuple[Gradient, Gradient]) -> Tensor:
        """The averages with one more pair, written over it, all but corrected; `keep` takes them up.

        Returns:
            The factors that correct both sides, `[2]` float64; 1 of a side that is not averaged.
        """
        for sums, own in self._sides(gradients):
            if all(m.dtype == g.dtype and m.device == g.device for m, g in zip(sums, own, strict=True)):
                torch._foreach_lerp_(own, sums, self.beta)
            else:  # no more than a tensor of them is copied
                for m, g in zip(sums, own, strict=True):
                    g.lerp_(m.to(g), self.beta)
        factors = torch.ones(2, dtype=torch.float64)
        factors[list(_AVERAGED[self.of][0])] = 1 / (1 - self.beta ** (self.count + 1))
        return factors

    @torch.no_grad()
    def keep(self, written: tuple[Gradient, Gradient]) -> None:
        """What `over` has written is what the next pair is added to."""
        for sums, own in self._sides(written):
            torch._foreach_copy_(sums, own)
        self.count += 1

    def forget(self) -> None:
        """Begins anew: of sums that hold one number that is not finite nothing is left."""
        self.count, self._sums = 0, []

    def _sides(self, gradients: tuple[Gradient, Gradient]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        """Sums and gradient of each side that is averaged, as real tensors of this rank."""
        self._open(gradients[FORGET])
        return zip(self._sums, [_reals(gradients[side]) for side in _AVERAGED[self.of][0]], strict=True)

    @torch.no_grad()
    def gramian(self, index: Sequence[int], like: Sequence[Tensor]) -> Tensor:
        """That of both averages, corrected, `[B, 2, 2]`; NaN after a gradient that was not finite, and they begin anew.

        Args:
            index: the block of each tensor.
            like: the parameters.
        """
        device = local(like[0]).device
        each = torch.stack([products(f.to(device), r.to(device)) for f, r in zip(*self._sums, strict=True)])
        gram = of_blocks(each * self._scale**2, index, like[0])
        if not gram.isfinite().all():
            self.forget()
            return torch.full_like(gram, math.nan)
        return lined_up(gram, (list(like), list(like)), index)

    def along(self, parameters: Sequence[Tensor], weights: Tensor, gram: Tensor, index: Sequence[int]) -> Averaged:
        """The direction `sum_i w[b, i] m_i`."""
        factors, exact = (found.tolist() for found in scaled(weights, gram))
        scales = [[self._scale * factor for factor in factors[block]] for block in index]
        return Averaged(parameters, self._sums, scales, [exact[block] for block in index])

    @property
    def _scale(self) -> float:
        return 1 / (1 - self.beta**self.count) if self.count else math.nan

    def _open(self, like: Sequence[Tensor]) -> None:
        if not self._sums:
            sides, dtype = _AVERAGED[self.of]
            self._shelf, self._like = Shelf(self.place), [spread(tensor) for tensor in like]
            self._sums = [[self._shelf.room(part.detach(), dtype) for part in _reals(like)] for _ in sides]

    def state_dict(self) -> dict[str, Any]:
        """Sums and count."""
        sums = [[alike(own, like) for own, like in zip(side, self._like, strict=True)] for side in self._sums]
        return {"count": self.count, "sums": sums}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.count, self._sums = state["count"], []
        if state["sums"]:
            self._open(state["sums"][0])
            for sums, side in zip(self._sums, state["sums"], strict=True):
                torch._foreach_copy_(sums, parts(side))


class Averaged:
    """A direction along averages, formed tensor by tensor whenever it is asked for.

    Args:
        parameters: what moves.
        sums: of both sides, where they lie.
        weights: of both, for each tensor.
        exact: whether their sum is to be formed in float64.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        sums: Sequence[Sequence[Tensor]],
        weights: Sequence[Sequence[float]],
        exact: Sequence[bool],
    ) -> None:
        self._parameters, self._sums, self._weights, self._exact = parameters, sums, weights, exact
        self._masks: Sequence[Tensor] | None = None

    def mask(self, tensors: Sequence[Tensor]) -> None:
        """Only these elements may move."""
        self._masks = tensors

    def norm(self) -> float:
        """Its length."""
        squares = torch.stack([products(own, own) for _, own in self._each()])
        return float(of_blocks(squares, [0] * len(squares), self._parameters[0])[0, 0, 0].sqrt())

    @torch.no_grad()
    def move(self, scale: float) -> None:
        """`theta += scale * direction`."""
        for parameter, own in self._each():
            parameter.add_(own, alpha=scale)

    def step(self, optimizer: torch.optim.Optimizer, scale: float) -> None:
        """A repair's steps are a trust region's."""
        raise NotImplementedError

    def _each(self) -> Iterator[tuple[Tensor, Tensor]]:
        for place, p in enumerate(self._parameters):
            parameter, (w_f, w_r) = real(local(p).detach()), self._weights[place]
            forget, own = (torch.empty_like(parameter).copy_(side[place]) for side in self._sums)
            blend(own, forget, w_r, w_f, self._exact[place])
            if self._masks is not None:
                mask = local(self._masks[place])
                own.mul_(mask[..., None] if p.is_complex() else mask)
            yield parameter, own


def _reals(gradient: Sequence[Tensor]) -> list[Tensor]:
    return [real(part) for part in parts(gradient)]
