"""Small tensors of both gradients, all at a time: what is done to every one of them is one operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from unweave.devices import home

SMALL = 1 << 15  # elements of a tensor that is not read alone
_ROW = 64  # elements: a tensor that ends within a row is filled up with zeros, which no sum sees
_PIECE = 1 << 10  # rows whose products are there at a time: on a CPU so many that they stay in the cache

Sides = tuple[Sequence[Tensor], Sequence[Tensor]]  # tensors of the forget and of the retain gradient, the same shapes


def real(tensor: Tensor) -> Tensor:
    """Real and imaginary part of a complex tensor, in the same memory along a last axis of 2; another as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def bytes_of(sizes: Sequence[int]) -> int:
    """What the copies of both gradients of such tensors take, of so many elements each."""
    return 2 * torch.float64.itemsize * sum(size for size in sizes if size <= SMALL)


class Packs:
    """Copies in float64 of the small tensors of both gradients, in rows of 64 elements that belong to one tensor.

    Their memory is taken at the first reading, and used again as long as shapes, types and device stay the same.

    Attributes:
        large: places of the tensors that are not read here, of those that were read last.
    """

    def __init__(self) -> None:
        self._kind: object = None
        self.large: list[int] = []

    def read(self, sides: Sides) -> None:
        """Copies the small tensors among these."""
        first = sides[0]
        kind = first[0].device, [tensor.shape for tensor in first], [tensor.dtype for tensor in first]
        if kind != self._kind:
            self._lay_out(first)
            self._kind = kind
        f, self._into = ([side[place] for place in self._places] for side in sides)
        if self._complex:
            f, self._into = [*map(real, f)], [*map(real, self._into)]
        if self._into:
            torch._foreach_copy_(self._views, f + self._into)

    def products(self) -> tuple[list[int], Tensor]:
        """Places of the small tensors that were read last, and their `<f,f>, <f,r>, <r,r>`, `[T, 3]` in float64."""
        for both, f, r, products, with_f, with_r, into in self._pieces:
            torch.mul(f, both, out=with_f)
            torch.mul(r, r, out=with_r)
            torch.sum(products, 2, out=into)
        # Pairwise, never one after another: the angle of a block has to be known to the last bits of its sums.
        return self._places, torch.cat([self._sums[:, :0], *(rows.sum(2) for rows in self._alike)], 1).T

    def combine(self, weights: Tensor) -> None:
        """Writes `w[t, 0] f + w[t, 1] r`, formed in float64, over the small tensors of the retain gradient.

        Args:
            weights: of all tensors that were read, `[T, 2]` float64 on the CPU.
        """
        if not self._into:
            return
        mine = weights[self._places]
        if not mine.isfinite().all():
            self._kind = None  # the zeros that fill rows up are none any more
        f, r = self._rows
        w_f, w_r = mine.to(self._rows.device)[self._of].split(1, 1)
        r.mul_(w_r).addcmul_(f, w_f)
        torch._foreach_copy_(self._into, self._views[len(self._into) :])
        self._into = []

    def _lay_out(self, tensors: Sequence[Tensor]) -> None:
        sizes = [tensor.numel() for tensor in tensors]
        self.large = [place for place, size in enumerate(sizes) if size > SMALL]
        self._places = sorted((place for place, size in enumerate(sizes) if size <= SMALL), key=sizes.__getitem__)
        small = [real(tensors[place]) for place in self._places]
        self._complex = any(tensor.is_complex() for tensor in tensors)
        counts = [-(-tensor.numel() // _ROW) for tensor in small]
        make = partial(torch.zeros, dtype=torch.float64, device=home(tensors[0].device))
        self._rows, self._sums = make(2, sum(counts), _ROW), make(3, sum(counts))
        self._pieces = list(self._in_pieces(make(3, min(sum(counts), _PIECE), _ROW)))
        self._views = [
            rows.view(-1)[: tensor.numel()].view(tensor.shape)
            for side in self._rows
            for rows, tensor in zip(side.split(counts), small, strict=True)
        ]
        self._of = torch.repeat_interleave(torch.tensor(counts, dtype=torch.long)).to(self._rows.device)
        alike = [(len(list(same)), rows) for rows, same in groupby(counts)]  # tensors of as many rows each
        each = self._sums.split([many * rows for many, rows in alike], 1)
        self._alike = [sums.view(3, *shape) for sums, shape in zip(each, alike, strict=True)]

    def _in_pieces(self, products: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Rows of both gradients, of each, the products that they get, of f with both, of r with r, and their sums."""
        for rows, into in zip(self._rows.split(_PIECE, 1), self._sums.split(_PIECE, 1), strict=True):
            own = products[:, : rows.shape[1]]
            yield rows, rows[0], rows[1], own, own[:2], own[2], into
