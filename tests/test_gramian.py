"""The 2x2 inner products and the combination, against the naive sums in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from unweave.gramian import Blocks, block_index, combine, dot, gramian, linear, norm
from unweave.packs import SMALL

NAMES = ["stem.weight", "stem.bias", "blocks.0.conv.weight", "blocks.0.norm.weight", "blocks.0.norm.bias", "scale"]
SHAPES = [(7, 5), (7,), (4, 3, 5, 5), (4,), (4,), ()]
INDEX = {"tensor": [0, 1, 2, 3, 4, 5], "layer": [0, 0, 1, 2, 2, 3], "model": [0, 0, 0, 0, 0, 0]}


def pair(dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], list[Tensor]]:
    forget, retain = ([torch.randn(shape).to(dtype) for shape in SHAPES] for _ in range(2))
    return forget, retain


def naive(forget: list[Tensor], retain: list[Tensor], index: list[int]) -> Tensor:
    total = torch.zeros(max(index) + 1, 2, 2, dtype=torch.float64)
    for block, f, r in zip(index, forget, retain, strict=True):
        a, b = f.double(), r.double()
        total[block] += torch.stack([(a * a).sum(), (a * b).sum(), (b * a).sum(), (b * b).sum()]).view(2, 2)
    return total


@pytest.mark.parametrize("blocks", INDEX)
def test_the_block_of_each_parameter(blocks: Blocks) -> None:
    assert block_index(NAMES, blocks) == INDEX[blocks]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("blocks", INDEX)
def test_gramian_is_the_naive_sum_in_float64(blocks: Blocks, dtype: torch.dtype) -> None:
    forget, retain = pair(dtype)
    found = gramian((forget, retain), INDEX[blocks])
    assert found.dtype == torch.float64 and found.shape == (max(INDEX[blocks]) + 1, 2, 2)
    torch.testing.assert_close(found, naive(forget, retain, INDEX[blocks]), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_small_tensors_are_read_together_and_large_ones_alone(dtype: torch.dtype) -> None:
    """Small ones of many sizes, large ones between them, and an empty one; blocks that hold both."""
    sizes = [5, 32_768, 80_000, 32_768, 0, 16_384, 3, 40_000, 16_384, 16_384, 700]
    assert max(sizes) > SMALL == sorted(sizes)[-3]
    forget, retain = ([torch.randn(size).to(dtype) for size in sizes] for _ in range(2))
    tolerance = 2e-6 if dtype == torch.float32 else 1e-13  # of products summed in float32 over 512
    for index in (list(range(11)), [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 0], [0] * 11):
        expected = naive(forget, retain, index)
        scale = (expected[:, 0, 0] * expected[:, 1, 1]).sqrt()[:, None, None]
        assert ((gramian((forget, retain), index) - expected).abs() <= tolerance * scale).all()
    exact = [each for each, size in enumerate(sizes) if size <= SMALL]
    found = gramian((forget, retain), list(range(11)))[exact]
    torch.testing.assert_close(found, naive(forget, retain, list(range(11)))[exact], rtol=1e-13, atol=1e-10)


def test_a_tensor_longer_than_one_piece_is_summed_in_float64() -> None:
    """2,500,001 elements are many pieces; float32 accumulation would be off by 1e-5. A norm only scales steps."""
    forget, retain = [1 + torch.rand(2_500_001)], [1 + torch.rand(2_500_001)]
    torch.testing.assert_close(gramian((forget, retain), [0]), naive(forget, retain, [0]), rtol=1e-8, atol=0)
    torch.testing.assert_close(dot(forget, retain), (forget[0].double() * retain[0].double()).sum(), rtol=1e-12, atol=0)
    torch.testing.assert_close(norm(forget), forget[0].double().norm(), rtol=1e-6, atol=0)
    torch.testing.assert_close(norm([forget[0].double()]), forget[0].double().norm(), rtol=1e-12, atol=0)


def test_the_layout_in_memory_does_not_matter() -> None:
    forget, retain = pair(torch.float32)
    expected = gramian((forget, retain), INDEX["tensor"])
    count = 0
    for layout_f, layout_r in [
        ("last", "last"),
        ("last", "first"),
        ("first", "last"),
        ("cut", "cut"),
        ("turned", "first"),
    ]:
        f, r = (list(g) for g in (forget, retain))
        for gradient, layout in ((f, layout_f), (r, layout_r)):
            gradient[2] = laid_out(gradient[2], layout)
        torch.testing.assert_close(gramian((f, r), INDEX["tensor"]), expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(dot(f, r), expected[:, 0, 1].sum(), rtol=1e-12, atol=0)
        weights = torch.randn(6, 2, dtype=torch.float64)
        direction = [w[0] * a.double() + w[1] * b.double() for w, a, b in zip(weights, forget, retain, strict=True)]
        copied = [t.clone(memory_format=torch.preserve_format) for t in r]
        for found, wanted in zip(combine((f, copied), weights, expected, INDEX["tensor"]), direction, strict=True):
            torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
        count += 1
    assert count == 5


def laid_out(tensor: Tensor, layout: str) -> Tensor:
    if layout == "last":
        return tensor.contiguous(memory_format=torch.channels_last)
    if layout == "cut":  # every second element of a larger tensor
        large = torch.full((*tensor.shape[:-1], 2 * tensor.shape[-1]), torch.nan)
        large[..., ::2] = tensor
        return large[..., ::2]
    return tensor.transpose(2, 3).contiguous().transpose(2, 3) if layout == "turned" else tensor


@pytest.mark.parametrize("blocks", INDEX)
def test_combine_writes_over_the_retain_gradient_only(blocks: Blocks) -> None:
    forget, retain = pair()
    gram = gramian((forget, retain), INDEX[blocks])
    kept, weights = [f.clone() for f in forget], torch.randn(len(gram), 2, dtype=torch.float64)
    expected = [weights[b, 0] * f + weights[b, 1] * r for b, f, r in zip(INDEX[blocks], forget, retain, strict=True)]
    places = [r.data_ptr() for r in retain]
    direction = combine((forget, retain), weights, gram, INDEX[blocks])
    assert [d.data_ptr() for d in direction] == places
    assert all(a.equal(b) for a, b in zip(forget, kept, strict=True))
    for found, wanted in zip(direction, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)


def test_combine_of_nearly_collinear_float32_gradients_does_not_cancel() -> None:
    """`r - c f` with an angle of 1e-5: in float32 most of what is left would be rounding noise."""
    forget = [torch.randn(4000)]
    retain = [forget[0] + 1e-5 * torch.randn(4000)]
    gram = gramian((forget, retain), [0])
    weights = torch.tensor([[-float(gram[0, 0, 1] / gram[0, 0, 0]), 1.0]], dtype=torch.float64)
    exact = retain[0].double() + weights[0, 0] * forget[0].double()
    rounded = retain[0] + weights[0, 0].float() * forget[0]
    (found,) = combine((forget, retain), weights, gram, [0])
    assert (found - exact).norm() < 1e-6 * exact.norm() < (rounded - exact).norm()


def test_combine_of_a_gradient_that_has_all_but_vanished_takes_a_weight_beyond_float32() -> None:
    """NPO's gradient on a forgotten answer: 1e-40 times a weight of 1e40 is a step of length 1, not an overflow."""
    forget, retain = [torch.full((4,), 1e-40)], [torch.ones(4)]
    gram = gramian((forget, retain), [0])
    (found,) = combine((forget, retain), torch.tensor([[1e40, 0.5]], dtype=torch.float64), gram, [0])
    torch.testing.assert_close(found, torch.full((4,), 1.5), rtol=1e-4, atol=0)


def test_zero_and_empty_tensors_give_zero_rows() -> None:
    forget, retain = [torch.zeros(3), torch.empty(0), torch.ones(2)], [torch.ones(3), torch.empty(0), torch.ones(2)]
    found = gramian((forget, retain), [0, 1, 2])
    assert found.tolist() == [[[0, 0], [0, 3]], [[0, 0], [0, 0]], [[2, 2], [2, 2]]]


def test_linear_combines_without_changing_its_terms() -> None:
    forget, retain = pair()
    kept = [f.clone() for f in forget]
    for found, f, r in zip(linear((2.0, forget), (-3.0, retain)), kept, retain, strict=True):
        torch.testing.assert_close(found, 2 * f - 3 * r)
    assert all(a.equal(b) for a, b in zip(forget, kept, strict=True))


@pytest.mark.parametrize(("angle", "scale"), [(1.0, 1.0), (1e-3, 1.0), (0.7, 1e-12), (0.7, 1e12), (0.7, 0.0)])
def test_large_float32_gradients_are_summed_as_exactly_as_their_angle_asks_for(angle: float, scale: float) -> None:
    """Against float64 throughout: 1e-6 of the squared sine, whatever the angle and the size of the gradients."""
    f, other = torch.randn(2, 300_001, generator=torch.Generator().manual_seed(0))
    r = (f + angle * other) * scale
    gram = gramian(([f[:200_000], f[200_000:]], [r[:200_000], r[200_000:]]), [0, 0])[0]
    a, b = f.double(), r.double()
    wanted = torch.stack([a @ a, a @ b, a @ b, b @ b]).view(2, 2)
    torch.testing.assert_close(gram, wanted, rtol=1e-6, atol=0.0)

    def sine(g: torch.Tensor) -> torch.Tensor:
        return 1 - g[0, 1] ** 2 / (g[0, 0] * g[1, 1])

    if scale:
        torch.testing.assert_close(sine(gram), sine(wanted), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("width", [torch.float32, torch.float64])
def test_a_complex_tensor_counts_as_its_two_parts(width: torch.dtype) -> None:
    """`<a, b> = Re sum conj(a) b`, in every layout, beside real tensors, in all that multiplies gradients."""
    kind = torch.complex64 if width == torch.float32 else torch.complex128
    shapes = [(40, 33), (3,), (4, 3, 5, 5), ()]
    f, r = ([torch.randn(s, dtype=kind) for s in shapes] + [torch.randn(7, dtype=width)] for _ in range(2))
    f[0], r[2] = f[0].T.contiguous().T, r[2].contiguous(memory_format=torch.channels_last)
    r[1] = r[1].conj()
    products = [
        torch.stack([(a.conj() * b).sum().real.double() for a, b in ((x, x), (x, y), (y, y))])
        for x, y in zip(f, r, strict=True)
    ]
    found = gramian((f, r), [0, 1, 2, 3, 4])
    rtol = 1e-6 if width == torch.float32 else 1e-13
    torch.testing.assert_close(found.flatten(1)[:, [0, 1, 3]], torch.stack(products), rtol=rtol, atol=rtol)
    torch.testing.assert_close(dot(f, r), torch.stack(products)[:, 1].sum(), rtol=rtol, atol=rtol)
    torch.testing.assert_close(norm(f), torch.stack(products)[:, 0].sum().sqrt(), rtol=rtol, atol=0)
    for weights in ([1.0, -1.0], [1e40, 0.0]):  # plainly, and where the sum is formed in float64
        small = [x * (1e-40 if weights[0] > 1 else 1.0) for x in f]
        expected = [weights[0] * a.to(torch.complex128) + weights[1] * b for a, b in zip(small, r, strict=True)]
        got = combine(
            (small, [b.resolve_conj().clone() for b in r]),
            torch.tensor([weights], dtype=torch.float64),
            gramian((small, r), [0] * 5),
            [0] * 5,
        )
        assert [g.dtype for g in got] == [g.dtype for g in r]
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a.to(torch.complex128), b.to(torch.complex128), rtol=1e-4, atol=1e-6)


def test_autocast_and_the_precision_of_matrix_products_change_nothing() -> None:
    """A matrix product in bfloat16 would be off by 4e-4 of the squared norm (sqrt(n) roundings of 2^-9 at most)."""
    f, r = ([torch.randn(70_000), torch.randn(300), torch.randn(50, 70)] for _ in range(2))
    plain, length, inner = gramian((f, r), [0, 1, 1]), norm(f), dot(f, r)
    torch.testing.assert_close(plain, naive(f, r, [0, 1, 1]), rtol=1e-6, atol=1e-2)
    count, before = 0, torch.get_float32_matmul_precision()
    try:
        for precision in ("highest", "high", "medium"):
            torch.set_float32_matmul_precision(precision)
            for kind in (torch.bfloat16, torch.float16, None):
                with torch.autocast("cpu", dtype=kind, enabled=kind is not None):
                    assert gramian((f, r), [0, 1, 1]).equal(plain)
                    assert norm(f).equal(length) and dot(f, r).equal(inner)
                count += 1
    finally:
        torch.set_float32_matmul_precision(before)
    assert count == 9


def test_gradients_that_are_plainly_apart_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32: the second reading, in float64, is for those that need it."""

    def again(f: Tensor, r: Tensor) -> Iterator[Tensor]:
        pytest.fail("read in float64")

    f, r = torch.randn(2, 4096, generator=torch.Generator().manual_seed(0))
    expected = naive([f], [r], [0])
    monkeypatch.setattr("unweave.gramian._exact", again)
    torch.testing.assert_close(gramian(([f], [r]), [0]), expected, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("kinds", [("bfloat16", "bfloat16"), ("float16", "float16"), ("float32", "bfloat16")])
def test_long_tensors_of_half_precision_are_summed_in_float64(kinds: tuple[str, str]) -> None:
    """In their own precision 5,000 products would be summed to two digits."""
    f, r = ([torch.randn(5000).to(getattr(torch, kind))] for kind in kinds)
    torch.testing.assert_close(gramian((f, r), [0]), naive(f, r, [0]), rtol=1e-12, atol=1e-10)
