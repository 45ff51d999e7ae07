"""Small tensors of both gradients, read and combined together: memory that is used again holds nothing of before."""

from __future__ import annotations

import math
from itertools import chain

import pytest
import torch
from torch import Tensor

from unweave.gramian import combine, gramian
from unweave.packs import SMALL, Packs

SHAPES = [(7, 5), (), (0,), (64,), (130, 3), (SMALL,), (SMALL + 1,), (200, 100), (1, 64)]
INDEX = list(range(len(SHAPES)))


def pair(seed: int, *dtypes: torch.dtype, shapes: list[tuple[int, ...]] = SHAPES) -> tuple[list[Tensor], list[Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    kinds = [dtypes[n % len(dtypes)] for n in range(len(shapes))]
    f, r = (
        [
            torch.randn(shape, generator=draw, dtype=torch.float64).to(kind)
            for shape, kind in zip(shapes, kinds, strict=True)
        ]
        for _ in range(2)
    )
    return f, r


def wanted(sides: tuple[list[Tensor], list[Tensor]], weights: Tensor) -> list[Tensor]:
    return [float(a) * f.double() + float(b) * r.double() for (a, b), f, r in zip(weights, *sides, strict=True)]


@pytest.mark.parametrize(
    "dtypes", [(torch.float64,), (torch.float32,), (torch.bfloat16,), (torch.float16, torch.bfloat16, torch.float32)]
)
def test_pairs_one_after_another_are_as_pairs_alone(dtypes: tuple[torch.dtype, ...]) -> None:
    packs, count = Packs(), 0
    for seed in range(3):
        once, again = pair(seed, *dtypes), pair(seed, *dtypes)
        gram = gramian(once, INDEX, packs)
        assert gram.equal(gramian(again, INDEX))
        weights = torch.randn(len(SHAPES), 2, generator=torch.Generator().manual_seed(seed)).double()
        exact = wanted(again, weights)
        terms = wanted(([f.abs() for f in again[0]], [r.abs() for r in again[1]]), weights.abs())
        found = combine(once, weights, gram, INDEX, packs)
        for one, two, sums, size in zip(found, combine(again, weights, gram, INDEX), exact, terms, strict=True):
            assert one.equal(two) and one.dtype == two.dtype
            # Small tensors: formed in float64 here and there, four roundings, and rounded once more to their own type.
            # Large ones: two roundings of each term and one of the sum in their own.
            own, wide = torch.finfo(one.dtype), torch.finfo(torch.float64).eps
            bound = 2 * own.eps * size if one.numel() > SMALL else own.eps / 2 * sums.abs() + 2 * wide * size
            assert ((one.double() - sums).abs() <= bound + own.smallest_normal).all()
            count += 1
    assert count == 3 * len(SHAPES)


def test_their_memory_is_taken_once() -> None:
    packs = Packs()
    places = []
    for seed in range(3):
        sides = pair(seed, torch.float32)
        combine(sides, torch.ones(len(SHAPES), 2).double(), gramian(sides, INDEX, packs), INDEX, packs)
        places.append(packs._rows.data_ptr())
    assert len(set(places)) == 1


def test_how_much_is_in_float64_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.randn(len(SHAPES), 2, generator=torch.Generator().manual_seed(0)).double()
    found = []
    for rows in (1 << 12, 16, 1):
        monkeypatch.setattr("unweave.packs._PIECE", rows)
        sides = pair(0, torch.float32)
        gram = gramian(sides, INDEX)
        found.append((gram, combine(sides, weights, gram, INDEX)))
    assert all(gram.equal(found[0][0]) for gram, _ in found)
    assert all(a.equal(b) for _, direction in found for a, b in zip(direction, found[0][1], strict=True))


def test_another_model_is_laid_out_anew() -> None:
    packs, others, turned = Packs(), [(3, 3), (50,), (2, 2, 2)], [(9,), (5, 11), (2, 4)]
    cases = ((SHAPES, torch.float32), (others, torch.float32), (others, torch.float64), (turned, torch.float64))
    for shapes, kind in cases:
        sides, index = pair(0, kind, shapes=shapes), list(range(len(shapes)))
        assert gramian(sides, index, packs).equal(gramian(sides, index))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_step_without_numbers_leaves_nothing_to_the_next(bad: float) -> None:
    """A weight that is none makes NaN of the zeros between tensors too."""
    packs = Packs()
    sides = pair(0, torch.float32)
    sides[0][0][0, 0] = bad
    gram = gramian(sides, INDEX, packs)
    assert not gram[0].isfinite().all() and gram[1:].isfinite().all()
    weights = torch.full((len(SHAPES), 2), torch.nan, dtype=torch.float64)
    assert all(r.isnan().all() for r in combine(sides, weights, gram, INDEX, packs))
    after = pair(1, torch.float32)
    assert gramian(after, INDEX, packs).equal(gramian(after, INDEX))


def test_the_angle_of_small_tensors_is_known_to_the_last_bits() -> None:
    """`HAMU` divides by sin^2 down to 1e-14: of sums one after another it would be uncertain by as much."""
    draw, worst, count = torch.Generator().manual_seed(0), 0.0, 0
    for size in (100, 3_000, SMALL):
        for _ in range(20):
            a, b = torch.randn(2, size, generator=draw, dtype=torch.float64)
            b = b - (a @ b) / (a @ a) * a
            sine = 3e-7
            r = a / a.norm() + sine * b / b.norm()
            gram = gramian(([a / a.norm()], [r]), [0])[0]
            one = [x.to(torch.float64).tolist() for x in (a / a.norm(), r)]
            ff, fr, rr = (_exactly(x, y) for x, y in ((one[0], one[0]), (one[0], one[1]), (one[1], one[1])))
            worst = max(worst, abs(gram[0, 0] / ff - 1), abs(gram[0, 1] / fr - 1), abs(gram[1, 1] / rr - 1))
            count += 1
    assert count == 60 and worst <= 4.5e-16  # two roundings of float64


def _exactly(x: list[float], y: list[float]) -> float:
    """With products split into their parts (Dekker), summed by `math.fsum`."""

    def parts(a: float, b: float) -> tuple[float, float]:
        high = a * b
        a1, b1 = a * 134217729.0, b * 134217729.0
        ah, bh = a1 - (a1 - a), b1 - (b1 - b)
        return high, ((ah * bh - high) + ah * (b - bh) + (a - ah) * bh) + (a - ah) * (b - bh)

    return math.fsum(chain.from_iterable(parts(a, b) for a, b in zip(x, y, strict=True)))
