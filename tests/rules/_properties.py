"""What rules claim, as assertions; each returns how many cases it checked."""

from __future__ import annotations

import torch

from tests.rules._gramians import BLOCKS, PAIRS, direction
from unweave.rules import GradientRule

EPS = 1e-9


def finite(rule: GradientRule) -> int:
    """Finite weights everywhere, also on zero rows and at every scale; a frozen block is not moved."""
    weights = rule.weights(BLOCKS)
    assert weights.shape == (len(BLOCKS), 2)
    assert weights.dtype == torch.float64
    assert weights.isfinite().all()
    for (name, (f, r)), w in zip(PAIRS.items(), weights, strict=True):
        assert (w[0] * f + w[1] * r).isfinite().all(), name
    return len(weights)


def block_permutation_equivariant(rule: GradientRule) -> int:
    """Blocks do not see each other."""
    order = torch.randperm(len(BLOCKS), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rule.weights(BLOCKS[order]), rule.weights(BLOCKS)[order], rtol=1e-12, atol=0)
    return len(BLOCKS)


def scale_equivariant(rule: GradientRule, degree: int, rtol: float = 1e-9) -> int:
    """`d(s g) = s^degree d(g)`: scaling both gradients scales the direction only."""
    checked = 0
    for s in (1e-9, 0.1, 3.0, 1e9):
        for name, (f, r) in PAIRS.items():
            expected = s**degree * direction(rule, f, r)
            found = direction(rule, s * f, s * r)
            size = float(expected.norm())
            assert float((found - expected).norm()) <= rtol * max(size, EPS * s**degree), (name, s)
            checked += 1
    return checked


def retain_never_rises(rule: GradientRule, but: tuple[str, ...] = ()) -> int:
    """`<g_r, d> >= 0`, for all pairs but the named ones."""
    return _never_rises(rule, 1, but)


def forget_never_rises(rule: GradientRule, but: tuple[str, ...] = ()) -> int:
    """`<g_u, d> >= 0`, for all pairs but the named ones."""
    return _never_rises(rule, 0, but)


def _never_rises(rule: GradientRule, side: int, but: tuple[str, ...]) -> int:
    chosen = {name: pair for name, pair in PAIRS.items() if name.split(", ")[-1] not in but}
    for name, pair in chosen.items():
        w = rule.weights((torch.stack(pair) @ torch.stack(pair).T)[None])[0]
        terms = [w[i] * pair[i] for i in (0, 1)]
        size = pair[side].norm() * (terms[0].norm() + terms[1].norm())  # what rounding is relative to
        assert float(pair[side] @ (terms[0] + terms[1])) >= -EPS * float(size), name
    return len(chosen)
