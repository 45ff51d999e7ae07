from __future__ import annotations

import torch

from unweave.rules import NGDiff
from unweave.testing import check_rule
from unweave.testing.gradients import COUNT, direction, gram, vector


def test_properties() -> None:
    found = check_rule(NGDiff(), degree=0, never_raises=("forget", "retain"))
    assert found["scale"] == 4 * COUNT and found["never raises"] == 2 * COUNT


def test_pinned_value() -> None:
    """|(3, 4)| = 5 and |(0, 2)| = 2: (.6, .8) + (0, 1)."""
    f, r = vector(3.0, 4.0), vector(0.0, 2.0)
    torch.testing.assert_close(NGDiff().weights(gram(f, r)), torch.tensor([[0.2, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(direction(NGDiff(), f, r), vector(0.6, 1.8))
