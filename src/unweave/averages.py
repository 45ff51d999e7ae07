"""Averages of both gradients over the pairs of a run, in as much memory as there is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from unweave.gramian import Gradient, local, norm, parts, real
from unweave.rules._base import FORGET, RETAIN
from unweave.sharded import alike

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

    Attributes:
        beta: how much of the past an average keeps.
        of: "both" gradients in their precision; "lean": both in bfloat16, half of the memory where that is float32;
            "retain": the retain side's alone; "none". What is not averaged is the step's own.
        count: pairs that are in it; those with a non-finite gradient are left out.
    """

    beta: float = 0.9
    of: Of = "both"
    count: int = field(default=0, init=False)
    _sums: list[list[Tensor]] = field(default_factory=list, init=False, repr=False)
    _like: Sequence[Tensor] = field(default=(), init=False, repr=False)  # how they are sharded

    def add(self, gradients: tuple[Gradient, Gradient]) -> None:
        """One more pair."""
        if not all(math.isfinite(float(norm(side))) for side in gradients):
            return
        sides, dtype = _AVERAGED[self.of]
        new = [[part.to(dtype or part.dtype) for part in _reals(gradients[side])] for side in sides]
        if not self._sums:
            self._like = gradients[0]
            self._sums = [[torch.zeros_like(part) for part in side] for side in new]
        self.count += 1
        for sums, side in zip(self._sums, new, strict=True):
            torch._foreach_lerp_(sums, side, 1 - self.beta)

    @torch.no_grad()
    def begin(self, side: int, like: Sequence[Tensor]) -> None:
        """One more pair, whose gradients come tensor by tensor (`more`), this side's next."""
        sides, dtype = _AVERAGED[self.of]
        if not self._sums:
            self._like, own = like, _reals(like)
            self._sums = [[torch.zeros_like(part, dtype=dtype or part.dtype) for part in own] for _ in sides]
        self.count += side == sides[0]
        torch._foreach_mul_(self._sums[sides.index(side)], self.beta)

    @torch.no_grad()
    def more(self, side: int, place: int, gradient: Tensor | None) -> None:
        """A tensor of it, or a micro-batch's part."""
        if gradient is not None:
            own = self._sums[_AVERAGED[self.of][0].index(side)][place]
            own.add_(real(local(gradient)).to(own), alpha=1 - self.beta)

    @torch.no_grad()
    def means(self, out: tuple[Gradient, Gradient]) -> tuple[Gradient, Gradient]:
        """Those that are averaged, corrected, written over a pair."""
        scale = 1 / (1 - self.beta**self.count)
        for side, sums in zip(_AVERAGED[self.of][0], self._sums, strict=True):
            torch._foreach_copy_(_reals(out[side]), sums)
            torch._foreach_mul_(_reals(out[side]), scale)
        return out

    def state_dict(self) -> dict[str, Any]:
        """Sums and count."""
        sums = [[alike(own, like) for own, like in zip(side, self._like, strict=True)] for side in self._sums]
        return {"count": self.count, "sums": sums}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.count, self._like = state["count"], next(iter(state["sums"]), [])
        self._sums = [[local(tensor).clone() for tensor in side] for side in state["sums"]]


def _reals(gradient: Sequence[Tensor]) -> list[Tensor]:
    return [real(part) for part in parts(gradient)]
