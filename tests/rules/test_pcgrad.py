from __future__ import annotations

from itertools import product

import pytest
import torch

from unweave.rules import PCGrad
from unweave.testing import check_rule
from unweave.testing.gradients import BLOCKS, COUNT, PAIRS, direction, vector


def test_properties() -> None:
    assert len(PAIRS) == COUNT
    found = check_rule(PCGrad(), degree=1, never_raises=("forget", "retain"))
    assert found["scale"] == 4 * COUNT and found["never raises"] == 2 * COUNT
    assert found["finite"] + found["zero gradients"] == found["blocks"] == COUNT


def test_pinned_values() -> None:
    """g_r = (1, 0); raw forget gradients (.8, .6) conflict under ascent, (-.8, .6) do not.

    Conflict: g_u = (-.8, -.6), c = -.8; (g_u + .8 g_r) + (g_r + .8 g_u) = (0, -.6) + (.36, -.48) = (.36,
        -1.08).
    """
    r = vector(1.0, 0.0)
    conflicting, agreeing = (-vector(s * 0.8, 0.6) for s in (1, -1))
    torch.testing.assert_close(direction(PCGrad(), conflicting, r), vector(0.36, -1.08))
    torch.testing.assert_close(direction(PCGrad(), agreeing, r), vector(1.8, -0.6))


def test_agrees_with_torchjd() -> None:
    weighting = pytest.importorskip("torchjd.aggregation").PCGradWeighting()
    checked = 0
    for gram, w in zip(BLOCKS, PCGrad().weights(BLOCKS), strict=True):
        if (gram.diagonal() > 0).all():
            torch.testing.assert_close(w, weighting(gram), rtol=1e-9, atol=0)
            checked += 1
    assert checked == COUNT - 3


def test_projects_iff_the_objectives_conflict() -> None:
    """The inverted condition of the released unlearning code would fail every one of these."""
    checked = 0
    for u, s in product((-0.9, -0.1, 0.0, 0.1, 0.9), (1.0, 30.0)):
        gram = torch.tensor([[[1.0, u * s], [u * s, s * s]]], dtype=torch.float64)
        touched = (PCGrad().weights(gram) != 1).any()
        assert bool(touched) == (u < 0)
        checked += 1
    assert checked == 10
