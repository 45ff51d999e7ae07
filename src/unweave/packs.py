"""Small tensors of both gradients, all at a time: what is done to every one of them is one operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import groupby
from operator import attrgetter

import torch
from torch import Tensor

from unweave.devices import home, wide

SMALL = 1 << 15  # elements of a tensor that is not read alone
_ROW = 64  # elements: a tensor that ends within a row is filled up with zeros, which no sum sees
_PIECE = 1 << 12  # rows that are in float64 at a time

Sides = tuple[Sequence[Tensor], Sequence[Tensor]]  # tensors of the forget and of the retain gradient, the same shapes

_KIND = attrgetter("shape", "dtype", "device")


def real(tensor: Tensor) -> Tensor:
    """Real and imaginary part of a complex tensor, in the same memory along a last axis of 2; another as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


class Packs:
    """Copies of the small tensors of both gradients, in rows of 64 elements that belong to one tensor.

    Their memory is taken at the first reading, and used again as long as shapes, types and device are the same.
    """

    def __init__(self) -> None:
        self._kind: object = None

    def read(self, sides: Sides) -> None:
        """Copies the small tensors among these; `large` are the places of the others."""
        sizes = [tensor.numel() for tensor in sides[0]]
        self.large = [place for place, size in enumerate(sizes) if size > SMALL]
        self._places = sorted((place for place, size in enumerate(sizes) if size <= SMALL), key=sizes.__getitem__)
        f, r = ([real(side[place]) for place in self._places] for side in sides)
        kind = list(map(_KIND, f)), list(map(_KIND, r))
        if kind != self._kind:
            self._lay_out(f, r, sides[0][0].device)
            self._kind = kind
        self._into = r
        if r:
            torch._foreach_copy_(self._views, f + r)

    def products(self) -> tuple[list[int], Tensor]:
        """Places of the small tensors that were read last, and their `<f,f>, <f,r>, <r,r>`, `[T, 3]` in float64."""
        sums = torch.empty(3, len(self._of), dtype=torch.float64, device=home(self._rows.device))
        for (_, rows), into in zip(self._pieces(), sums.split(_PIECE, 1), strict=True):
            products = rows.new_empty(3, *rows.shape[1:])
            torch.mul(rows[0], rows, out=products[:2])
            torch.mul(rows[1], rows[1], out=products[2])
            torch.sum(products, 2, out=into)
        # Pairwise, never one after another: the angle of a block has to be known to the last bits of its sums.
        parts = sums.split([many * rows for many, rows in self._alike], 1)
        alike = [part.view(3, *shape).sum(2) for part, shape in zip(parts, self._alike, strict=True)]
        return self._places, torch.cat([sums[:, :0], *alike], 1).T

    def combine(self, weights: Tensor) -> None:
        """Writes `w[t, 0] f + w[t, 1] r`, formed in float64, over the small tensors of the retain gradient.

        Args:
            weights: of all tensors that were read, `[T, 2]` float64 on the CPU.
        """
        if not self._into:
            return
        mine = weights[self._places]
        finite, mine = bool(mine.isfinite().all()), mine.to(home(self._rows.device))
        for (of, rows), sums in zip(self._pieces(), self._rows[1].split(_PIECE), strict=True):
            factors = mine[of]
            sums.copy_(rows[1].mul_(factors[:, 1:]).addcmul_(rows[0], factors[:, :1]))
        torch._foreach_copy_(self._into, self._views[len(self._into) :])
        self._into = []
        if not finite:
            self._kind = None  # the zeros that fill rows up are none any more

    def _lay_out(self, f: list[Tensor], r: list[Tensor], device: torch.device) -> None:
        counts = [-(-tensor.numel() // _ROW) for tensor in f]
        widest = reduce(torch.promote_types, {tensor.dtype for tensor in f + r}, torch.bfloat16)
        self._rows = torch.zeros(2, sum(counts), _ROW, dtype=widest, device=device)
        self._views = [
            rows.view(-1)[: tensor.numel()].view(tensor.shape)
            for side in self._rows
            for rows, tensor in zip(side.split(counts), f, strict=True)
        ]
        self._of = torch.repeat_interleave(torch.tensor(counts, dtype=torch.long)).to(home(device))
        self._alike = [(len(list(same)), rows) for rows, same in groupby(counts)]  # tensors of as many rows each

    def _pieces(self) -> Iterator[tuple[Tensor, Tensor]]:
        for of, rows in zip(self._of.split(_PIECE), self._rows.split(_PIECE, 1), strict=True):
            yield of, wide(rows)
