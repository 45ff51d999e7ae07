from __future__ import annotations

import torch

from unweave.rules import GRU
from unweave.testing import check_rule
from unweave.testing.gradients import BLOCKS, COUNT, direction, vector


def test_properties() -> None:
    found = check_rule(GRU(), degree=1, never_raises=("forget", "retain"))
    assert found["scale"] == 4 * COUNT and found["never raises"] == 2 * COUNT


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
