from __future__ import annotations

import torch

from tests.rules._gramians import BLOCKS, COUNT, direction, vector
from tests.rules._properties import (
    block_permutation_equivariant,
    finite,
    forget_never_rises,
    retain_never_rises,
    scale_equivariant,
)
from unweave.rules import GRU


def test_properties() -> None:
    assert finite(GRU()) == COUNT
    assert block_permutation_equivariant(GRU()) == COUNT
    assert scale_equivariant(GRU(), degree=1) == 4 * COUNT
    assert forget_never_rises(GRU()) == COUNT
    assert retain_never_rises(GRU()) == COUNT


def test_pinned_values() -> None:
    """g_r = (1, 0). g_u = (-.8, -.6) conflicts and loses its first component; (.8, -.6) is left alone."""
    r = vector(1.0, 0.0)
    conflicting, agreeing = (vector(s * 0.8, -0.6) for s in (-1, 1))
    torch.testing.assert_close(direction(GRU(), conflicting, r), vector(0.0, -0.6))
    assert direction(GRU(), agreeing, r).equal(agreeing)


def test_the_retain_gradient_steers_but_is_not_added() -> None:
    weights, conflict = GRU().weights(BLOCKS), BLOCKS[:, 0, 1] < 0
    assert (weights[:, 0] == 1).all()
    assert (weights[~conflict, 1] == 0).all()
    assert (weights[conflict, 1] > 0).all()
    assert int(conflict.sum()) > 15
