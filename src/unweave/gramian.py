"""Inner products and linear combinations of the two gradients, per block, across shards.

A *block* is a group of parameter tensors that a rule treats as one vector: every tensor, every layer, or the whole
model. Both gradients are read once for the Gramian and once for the combination, in pieces that fit the cache; small
tensors all at a time (`packs`).

A complex tensor counts as its real and imaginary parts: `<a, b> = Re sum conj(a) b`. No sum of float32 is a matrix
product, whose factors autocast and TF32 (`torch.set_float32_matmul_precision`) round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from unweave.devices import home, wide
from unweave.packs import SMALL, Sides
from unweave.packs import Packs as Packs
from unweave.packs import real as real
from unweave.sharded import local as local
from unweave.sharded import sum_over_shards

Gradient = list[Tensor]  # one tensor per trainable parameter, sharded like it
Products = Callable[[Tensor, Tensor], Iterator[Tensor]]
Blocks = Literal["tensor", "layer", "model"]
Memory = Literal["fast", "lean", "least"]  # how many gradients are kept: both, one, none (`streaming`)

_PIECE = {"cpu": 1 << 16}  # elements read at a time: on a CPU so many that what is made of them stays in the cache
_PIECE_ELSEWHERE = 1 << 24
_LARGEST = 1e30  # beyond this a weight or its product may not fit into float32
_CHUNK = 512  # float32 products summed in float32, before float64 takes over
_APART, _PLAIN = 0.1, (1e-18, 1e30)  # sin^2 of the angle, and squared norms, for which that is enough
_CANCELLATION = 4.0  # beyond this the float32 sum would lose more than a bit: form it in float64
_CANCELLED = 2e-15  # |sum|^2 relative to its terms': below, rounding of float64 is all that is left of it
# sin^2 of the angle between gradients of the same examples in another order, in eps^2 of their type. Measured: up to 12
# in linear and attention layers of float32, 800 in convolutions, 26 in half precision; 64 of float32 are 9e-13.
_ROUNDED = 64


def block_index(names: Sequence[str], blocks: Blocks) -> list[int]:
    """The block of each parameter: its own, its layer's (the name without its last part), or 0."""
    if blocks == "tensor":
        return list(range(len(names)))
    keys = [name.rpartition(".")[0] for name in names] if blocks == "layer" else ["" for _ in names]
    number: dict[str, int] = {}
    return [number.setdefault(key, len(number)) for key in keys]


@torch.no_grad()
def gramian(gradients: tuple[Gradient, Gradient], index: Sequence[int], packs: Packs | None = None) -> Tensor:
    """`G[b] = [[<f,f>, <f,r>], [<r,f>, <r,r>]]` over the tensors of block b.

    Args:
        gradients: forget and retain gradient, the same shapes.
        index: the block of each tensor (`block_index`).
        packs: memory for the small tensors, to be used again at the next pair.

    Returns:
        `[B, 2, 2]` float64 on the CPU; one host sync, and one small all-reduce if sharded. Tensors of at most 32,768
        elements are read together, in float64. Float32 products of larger ones are summed in float32 over 512
        and in float64 beyond; blocks of these whose gradients are nearly collinear, or whose squared norms are at the
        ends of float32, are read once more, in float64 throughout. Gradients that differ in direction by no more than
        rounding in their own precision are one direction: `<f,r> = +-|f| |r|`.
    """
    sides = parts(gradients[0]), parts(gradients[1])
    each = torch.zeros(len(index), 3, dtype=torch.float64, device=home(sides[0][0].device))
    packs = packs or Packs()
    packs.read(sides)
    places, small = packs.products()
    each[places] = small
    _alone(each, sides, packs.large, _chunked)
    gram = of_blocks(each.clone(), index, gradients[0][0])
    if rough := _rough(gram, gradients, index):
        _alone(each, sides, [place for place in packs.large if index[place] in rough], _exact)
        gram = of_blocks(each, index, gradients[0][0])
    return lined_up(gram, gradients, index)


def _rough(gram: Tensor, gradients: tuple[Gradient, Gradient], index: Sequence[int]) -> set[int]:
    """Blocks for which sums of float32 are not enough: the same on every rank, whatever its own shards of them are."""
    blocks = {block for block, f in zip(index, gradients[0], strict=True) if f.numel() > SMALL}
    if not blocks:
        return blocks
    (ff, fr, _, rr), (least, most) = gram.flatten(1).T, _PLAIN
    plain = (ff > least) & (rr > least) & (ff < most) & (rr < most) & (ff * rr - fr * fr > _APART * ff * rr)
    apart = plain.tolist()
    return {block for block in blocks if not apart[block]}


def lined_up(gram: Tensor, gradients: tuple[Gradient, Gradient], index: Sequence[int]) -> Tensor:
    """`<f,r> = +-|f| |r|` in blocks whose directions differ by rounding in the precision of these gradients alone."""
    one = sine2(gram) <= _noise(gradients, index)
    if not one.any():
        return gram
    ff, fr, _, rr = gram.flatten(1).unbind(1)
    gram[:, 0, 1] = gram[:, 1, 0] = torch.where(one, fr.sign() * ff * (rr / ff).sqrt(), fr)
    return gram


@torch.no_grad()
def products(f: Tensor, r: Tensor) -> Tensor:
    """`<f,f>, <f,r>, <r,r>` of this rank's part of one tensor, `[3]` float64 on its device; no host sync."""
    f, r = _flat(local(f), local(r))
    total, size = torch.zeros(3, dtype=torch.float64, device=home(f.device)), max(1, _size(f))
    for pair in zip(f.split(size), r.split(size), strict=True):
        a, b = map(wide, pair)
        total += torch.stack([(x * y).sum() for x, y in ((a, a), (a, b), (b, b))])
    return total


def of_blocks(each: Tensor, index: Sequence[int], like: Tensor) -> Tensor:
    """The Gramian `[B, 2, 2]` of products `[T, 3]` of every tensor, on the CPU; one host sync.

    Args:
        each: of this rank's parts of tensors that are sharded as `like`; changed in place.
        index: the block of each tensor.
        like: one of the tensors.
    """
    sum_over_shards(each, like)
    rows = torch.zeros(max(index) + 1, 3, dtype=torch.float64)
    return rows.index_add_(0, torch.tensor(index), each.cpu())[:, [0, 1, 1, 2]].unflatten(1, (2, 2))


def sine2(gram: Tensor) -> Tensor:
    """Squared sine of the angle between the two gradients in every block, `[B]`; 1 where one of them is zero."""
    ff, fr, _, rr = gram.flatten(1).unbind(1)
    product = ff.sqrt() * rr.sqrt()
    cosine = torch.where(product > 0, fr / product, 0.0)
    return (1 - cosine.square()).clamp_min(0)


def squared(weights: Tensor, gram: Tensor) -> Tensor:
    """`|w_0 f + w_1 r|^2` in every block, `[B]`; 0 where the two terms cancel but for rounding."""
    return _sum(weights[:, :, None] * gram * weights[:, None])


def _sum(products: Tensor) -> Tensor:
    """Of the terms `[B, 2, 2]` of a squared norm."""
    total = products.sum((1, 2))
    return torch.where(total <= _CANCELLED * products.diagonal(dim1=1, dim2=2).sum(1), 0.0, total)


def _alone(each: Tensor, sides: Sides, places: Sequence[int], how: Products) -> None:
    """Products of some tensors, one at a time, into `[T, 3]`."""
    for place in places:
        f, r = (side[place].to(each.device) for side in sides)
        each[place] = torch.stack(list(how(f, r)), 1).sum(1)


def _noise(gradients: tuple[Gradient, Gradient], index: Sequence[int]) -> Tensor:
    """The sin^2 of the angle that is rounding of the gradients themselves, by the coarsest type in every block."""
    of = {dtype: _ROUNDED * torch.finfo(dtype).eps ** 2 for dtype in {g.dtype for side in gradients for g in side}}
    if len(of) == 1:
        return torch.tensor([*of.values()], dtype=torch.float64)
    noise = [0.0] * (max(index) + 1)
    for block, f, r in zip(index, *gradients, strict=True):
        noise[block] = max(noise[block], of[f.dtype], of[r.dtype])
    return torch.tensor(noise, dtype=torch.float64)


@torch.no_grad()
def combine(
    gradients: tuple[Gradient, Gradient],
    weights: Tensor,
    gram: Tensor,
    index: Sequence[int],
    packs: Packs | None = None,
) -> Gradient:
    """`w[b, 0] f + w[b, 1] r` in every block, written over the retain gradient.

    The sum of tensors of at most 32,768 elements is formed in float64. So is that of larger ones where the two terms
    nearly cancel (collinear gradients), so that its inner products are those the rule computed to the precision of the
    result, not of the terms; and where a gradient is so small (one that vanishes, as NPO's does) that its weight is
    beyond float32. Where nothing but rounding would be left, the sum is zero.

    Args:
        gradients: forget and retain gradient; the second is overwritten.
        weights: `[B, 2]`.
        gram: their Gramian `[B, 2, 2]`.
        index: the block of each tensor.
        packs: that have read these gradients in `gramian`, and nothing since.
    """
    factors, exact = scaled(weights, gram)
    if packs is None:
        packs = Packs()
        packs.read((parts(gradients[0]), parts(gradients[1])))
    for place in packs.large:
        w_f, w_r = factors[index[place]].tolist()
        blend(gradients[1][place], gradients[0][place], w_r, w_f, bool(exact[index[place]]))
    packs.combine(factors[list(index)])
    return gradients[1]


def scaled(weights: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
    """What `combine` multiplies the gradients by, `[B, 2]`, and in which blocks that cancels, `[B]`."""
    products = weights[:, :, None] * gram * weights[:, None]
    terms, total = products.diagonal(dim1=1, dim2=2).sum(1), _sum(products)
    exact = (terms > _CANCELLATION * total) | (weights.abs().amax(-1) > _LARGEST)
    return torch.where(total[:, None] == 0, 0.0, weights), exact


def blend(into: Tensor, other: Tensor, own: float, weight: float, exact: bool) -> None:
    """`into <- own * into + weight * other`, of this rank's parts of one tensor; `exact`: summed in float64."""
    into, other = real(local(into)), real(local(other))
    if exact:
        into.copy_(wide(into).mul_(own).add_(other.to(home(other.device)), alpha=weight))
    else:
        into.mul_(own).add_(other, alpha=weight)


def dot(left: Gradient, right: Gradient) -> Tensor:
    """Inner product over all tensors and shards, accumulated in float64; a scalar on the CPU."""
    parts = [a @ b for x, y in zip(_read(left), _read(right), strict=True) for a, b in _pieces(x, y)]
    total = torch.stack(parts).sum()
    sum_over_shards(total, left[0])
    return total.cpu()


@torch.no_grad()
def norm(gradient: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over all tensors and shards, summed in float64 over pieces; a scalar on the CPU."""
    own = [real(g) for g in _read(gradient)]
    squares = [part for g in own if g.numel() > SMALL for part in _squares(_flat(g, g)[0])]
    squares += [_flatten_dense_tensors(some).double().square().sum() for some in _together(own)]
    total = torch.stack(squares).sum()
    sum_over_shards(total, gradient[0])
    return total.sqrt().cpu()


@torch.no_grad()
def linear(*terms: tuple[float, Gradient]) -> Gradient:
    """`sum_i c_i g_i` as a new gradient."""
    (first, gradient), *others = terms
    result = list(torch._foreach_mul(gradient, first))
    for factor, g in others:
        torch._foreach_add_(result, g, alpha=factor)
    return result


def _together(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The small tensors, as many at a time as a large one begins with."""
    some, held = list[Tensor](), 0
    for tensor in tensors:
        if tensor.numel() > SMALL:
            continue
        if held + tensor.numel() > SMALL:
            yield some
            some, held = [], 0
        some.append(tensor)
        held += tensor.numel()
    if some:
        yield some


def _read(gradient: Sequence[Tensor]) -> list[Tensor]:
    """This rank's part of every tensor, where its float64 sums are formed."""
    own = parts(gradient)
    where = home(own[0].device)
    return own if own[0].device == where else [part.to(where) for part in own]


def parts(gradient: Sequence[Tensor]) -> list[Tensor]:
    """This rank's part of every tensor."""
    return [local(g) for g in gradient]


def _exact(f: Tensor, r: Tensor) -> Iterator[Tensor]:
    """`<f,f>, <f,r>, <r,r>` in float64, a piece at a time."""
    for a, b in _pieces(f, r):  # the sum of a product is formed pairwise; a dot product of squares is biased by 1e-13
        yield torch.stack([(x * y).sum() for x, y in ((a, a), (a, b), (b, b))])


def _chunked(f: Tensor, r: Tensor) -> Iterator[Tensor]:
    """The same of float32 tensors, summed in float32 within a chunk and in float64 over chunks: much faster."""
    f, r = _flat(f, r)
    whole = f.numel() // _CHUNK * _CHUNK if f.dtype == r.dtype == torch.float32 else 0
    if whole:
        buffer = f.new_empty(_size(f[:whole]))
        for a, b in zip(f[:whole].split(len(buffer)), r[:whole].split(len(buffer)), strict=True):
            product = torch.mul(a, b, out=buffer[: len(a)]).view(-1, _CHUNK).sum(1).sum(dtype=torch.float64)
            yield torch.stack([_square(a), product, _square(b)])
    if whole < f.numel():
        yield from _exact(f[whole:], r[whole:])


def _squares(g: Tensor) -> Iterator[Tensor]:
    """`<g, g>` of a vector, a piece at a time."""
    if g.dtype != torch.float32:
        yield from (a @ a for a, _ in _pieces(g, g))
        return
    whole = g.numel() // _CHUNK * _CHUNK
    if whole:
        yield _square(g[:whole])
    yield g[whole:].square().sum(dtype=torch.float64)


def _square(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.view(-1, _CHUNK), dim=1).double().square_().sum()


def _pieces(f: Tensor, r: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Both tensors as float64 vectors, a piece at a time, in one shared buffer."""
    f, r = _flat(f, r)
    size = max(1, _size(f))
    if f.dtype == torch.float64:
        yield from zip(f.split(size), r.split(size), strict=True)
        return
    buffer = torch.empty(2, size, dtype=torch.float64, device=f.device)
    for a, b in zip(f.split(size), r.split(size), strict=True):
        pair = buffer[:, : a.numel()]
        pair[0].copy_(a)
        pair[1].copy_(b)
        yield pair[0], pair[1]


def _size(tensor: Tensor) -> int:
    return min(_PIECE.get(tensor.device.type, _PIECE_ELSEWHERE), tensor.numel())


def _flat(f: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of the same element order, without a copy where both are laid out alike (also channels-last)."""
    f, r = real(f), real(r)
    if f.is_contiguous() and r.is_contiguous():
        return f.view(-1), r.view(-1)
    if f.ndim == 4 and f.stride() == r.stride() and f.is_contiguous(memory_format=torch.channels_last):
        return f.as_strided((f.numel(),), (1,)), r.as_strided((r.numel(),), (1,))
    return f.reshape(-1), r.reshape(-1)
