from __future__ import annotations

import math

import torch

from unweave.rules import Nash
from unweave.testing import check_rule
from unweave.testing.gradients import BLOCKS, COUNT, PAIRS, direction, gram, vector


def test_properties() -> None:
    found = check_rule(Nash(), degree=0, rtol=1e-7, never_raises=("forget", "retain"))
    assert found["scale"] == 4 * COUNT and found["never raises"] == 2 * COUNT


def test_solves_the_bargain() -> None:
    """`G a = 1/a` wherever there is a bargain: both gradients alive and not opposed."""
    checked = 0
    for (name, _), g, a in zip(PAIRS.items(), BLOCKS, Nash().weights(BLOCKS), strict=True):
        if name.startswith("opposed"):
            assert a.tolist() == [0.0, 0.0]
        elif (g.diagonal() > 0).all():
            assert (a > 0).all(), name
            torch.testing.assert_close(g @ a, 1 / a, rtol=1e-8, atol=0)
            checked += 1
    assert checked == COUNT - 5


def test_where_the_bargain_ends() -> None:
    """At 1 + cos = 7e-15."""
    for gap, bargains in ((6e-15, False), (8e-15, True)):
        g = torch.tensor([[[4.0, 2 * (gap - 1)], [2 * (gap - 1), 1.0]]], dtype=torch.float64)
        assert bool(Nash().weights(g).any()) == bargains


def test_pinned_value() -> None:
    """g_u = (2, 0), g_r = (1, 1): cos = 1/sqrt 2, a = (1/2, 1/sqrt 2) / sqrt(1 + 1/sqrt 2)."""
    f, r = vector(2.0, 0.0), vector(1.0, 1.0)
    expected = torch.tensor([[0.5, math.sqrt(0.5)]], dtype=torch.float64) / math.sqrt(1 + math.sqrt(0.5))
    torch.testing.assert_close(Nash().weights(gram(f, r)), expected)
    assert math.isclose(float(direction(Nash(), f, r).norm()), math.sqrt(2))
