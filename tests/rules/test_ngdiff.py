from __future__ import annotations

import torch

from tests.rules._gramians import COUNT, direction, gram, vector
from tests.rules._properties import (
    block_permutation_equivariant,
    finite,
    forget_never_rises,
    retain_never_rises,
    scale_equivariant,
)
from unweave.rules import NGDiff


def test_properties() -> None:
    assert finite(NGDiff()) == COUNT
    assert block_permutation_equivariant(NGDiff()) == COUNT
    assert scale_equivariant(NGDiff(), degree=0) == 4 * COUNT
    assert forget_never_rises(NGDiff()) == COUNT
    assert retain_never_rises(NGDiff()) == COUNT


def test_pinned_value() -> None:
    """|(3, 4)| = 5 and |(0, 2)| = 2: (.6, .8) + (0, 1)."""
    f, r = vector(3.0, 4.0), vector(0.0, 2.0)
    torch.testing.assert_close(NGDiff().weights(gram(f, r)), torch.tensor([[0.2, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(direction(NGDiff(), f, r), vector(0.6, 1.8))
