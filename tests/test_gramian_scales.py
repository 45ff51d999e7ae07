"""The Gramian at the ends of float32, block by block, and sums that cancel, at every scale."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from unweave.gramian import combine, gramian, sine2, squared


@pytest.mark.parametrize("scales", list(product((1.0, 1e-21, 1e18), repeat=2)))
def test_products_beyond_float32_are_exact(scales: tuple[float, float]) -> None:
    """1e-42 is below the smallest number of float32, and the sum of 1e36 a thousand times is above the largest."""
    f, r = (s * torch.randn(1024, generator=torch.Generator().manual_seed(n)) for n, s in enumerate(scales))
    a, b = f.double(), r.double()
    found = gramian(([f], [r]), [0])[0]
    torch.testing.assert_close(found[0, 0], a @ a, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(found[1, 1], b @ b, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(found[0, 1], a @ b, rtol=1e-4, atol=0.0)


def test_one_block_is_read_again_and_the_other_is_not() -> None:
    """A plain block beside one of gradients on one line but for rounding, which float32 sums do not tell from apart."""
    x, y = torch.randn(2, 4096, generator=torch.Generator().manual_seed(0))
    line = -0.3 * x + 1e-7 * y
    for order in ((0, 1), (1, 0)):
        forget, retain = ([(x, x)[n] for n in order], [(y, line)[n] for n in order])
        found = sine2(gramian((forget, retain), [0, 1]))
        assert found[order.index(1)] < 2e-15 and found[order.index(0)] > 0.9
    near = x + 1e-3 * y
    found, alone = (sine2(gramian(pair, range(len(pair[0])))) for pair in (([x, x], [y, near]), ([x], [near])))
    torch.testing.assert_close(found[1:], alone, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_sum_is_nothing_only_where_its_terms_cancel(scale: float) -> None:
    gram = scale**2 * torch.tensor([[[1.0, -1.0], [-1.0, 1.0]], [[1.0, -0.9], [-0.9, 1.0]]], dtype=torch.float64)
    ones = torch.ones(2, 2, dtype=torch.float64)
    assert squared(ones, gram).tolist() == pytest.approx([0.0, 0.2 * scale**2])
    assert squared(ones / scale, gram).tolist() == pytest.approx([0.0, 0.2])
    assert squared(0 * ones, gram).tolist() == [0.0, 0.0]
    assert squared(ones, gram * torch.nan).isnan().all(), "a gradient that is no number is not hidden"
    f = torch.full((4,), scale / 2)
    direction = combine(([f, f], [-f, -0.5 * f]), ones, gram, [0, 1])
    assert direction[0].tolist() == [0.0] * 4 and direction[1].tolist() == pytest.approx([scale / 4] * 4)
    (nan,) = combine(([f], [f * torch.nan]), ones[:1], gram[:1] * torch.nan, [0])
    assert nan.isnan().all()
