"""Averages of both gradients over the pairs of a run, in as much memory as there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from unweave.gramian import Gradient, local, parts, real
from unweave.rules._base import FORGET, RETAIN

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
        count: pairs that are in it.
    """

    beta: float = 0.9
    of: Of = "both"
    count: int = field(default=0, init=False)
    _sums: list[list[Tensor]] = field(default_factory=list, init=False, repr=False)

    @torch.no_grad()
    def add(self, gradients: tuple[Gradient, Gradient]) -> None:
        """One more pair, which stays as it is."""
        for sums, own in self._sides(gradients):
            torch._foreach_lerp_(sums, [g.to(m.dtype) for g, m in zip(own, sums, strict=True)], 1 - self.beta)
        self.count += 1

    @torch.no_grad()
    def begin(self, side: int, like: Sequence[Tensor]) -> None:
        """One more pair, whose gradients come tensor by tensor (`more`), this side's next."""
        sides, dtype = _AVERAGED[self.of]
        if not self._sums:
            own = _reals(like)
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
    def over(self, gradients: tuple[Gradient, Gradient]) -> Tensor:
        """The averages with one more pair, written over it, all but corrected; `keep` takes them up.

        Returns:
            The factors that correct both sides, `[2]` float64; 1 of a side that is not averaged.
        """
        for sums, own in self._sides(gradients):
            if self.of == "lean":  # no more than a tensor of it in full precision
                for g, m in zip(own, sums, strict=True):
                    g.lerp_(m.to(g.dtype), self.beta)
            else:
                torch._foreach_lerp_(own, sums, self.beta)
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
        sides, dtype = _AVERAGED[self.of]
        own = [_reals(gradients[side]) for side in sides]
        if not self._sums:
            self._sums = [[torch.zeros_like(part, dtype=dtype or part.dtype) for part in side] for side in own]
        return zip(self._sums, own, strict=True)

    def state_dict(self) -> dict[str, Any]:
        """Sums and count."""
        return {"count": self.count, "sums": [list(side) for side in self._sums]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.count, self._sums = state["count"], [[tensor.clone() for tensor in side] for side in state["sums"]]


def _reals(gradient: Sequence[Tensor]) -> list[Tensor]:
    return [real(part) for part in parts(gradient)]
