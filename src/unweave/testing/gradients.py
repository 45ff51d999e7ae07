"""Pairs of gradients that rules find hard, as vectors and as Gramians."""

from __future__ import annotations

import torch
from torch import Tensor

from unweave.rules import GradientRule

ANGLES = {"aligned": 35.0, "orthogonal": 90.0, "conflicting": 130.0, "nearly opposed": 179.0}
LENGTHS = {
    "unit": (1.0, 1.0),
    "uneven": (3.0, 0.2),
    "tiny": (1e-12, 2e-12),
    "huge": (1e12, 3e12),
    "tiny forget": (1e-12, 1.0),
    "tiny retain": (1.0, 1e-12),
    "both ends": (1e-12, 1e12),
}
SPECIAL = {
    "collinear": ([2.0, 4.0, 0.0], [1.0, 2.0, 0.0]),
    "opposed": ([2.0, 4.0, 0.0], [-1.0, -2.0, 0.0]),
    "opposed tiny": ([2e-12, 4e-12, 0.0], [-1e-12, -2e-12, 0.0]),
    "no forget gradient": ([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]),
    "no retain gradient": ([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]),
    "frozen": ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
}


def vector(*entries: float) -> Tensor:
    """A float64 vector."""
    return torch.tensor(entries, dtype=torch.float64)


def at_angle(degrees: float, forget: float, retain: float) -> tuple[Tensor, Tensor]:
    """Two vectors of the given lengths at the given angle, in three dimensions."""
    phi = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    g_f = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    side = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    return forget * g_f, retain * (phi.cos() * g_f + phi.sin() * side)


def pairs(seed: int = 7) -> dict[str, tuple[Tensor, Tensor]]:
    """Every named pair (forget, retain): angles by lengths, the special cases, and 20 random ones."""
    found = {f"{a}, {n}": at_angle(d, *x) for a, d in ANGLES.items() for n, x in LENGTHS.items()}
    found |= {name: (vector(*f), vector(*r)) for name, (f, r) in SPECIAL.items()}
    generator = torch.Generator().manual_seed(seed)
    for i in range(20):
        f, r = torch.randn(2, 5, generator=generator, dtype=torch.float64)
        found[f"random {i}"] = (f, r)
    return found


def gram(f: Tensor, r: Tensor) -> Tensor:
    """The Gramian of one pair as one block, `[1, 2, 2]`."""
    jacobian = torch.stack([f, r])
    return (jacobian @ jacobian.T)[None]


def direction(rule: GradientRule, f: Tensor, r: Tensor) -> Tensor:
    """The direction that a gradient rule answers for one pair."""
    w = rule.weights(gram(f, r))[0]
    return w[0] * f + w[1] * r


PAIRS = pairs()
COUNT = len(ANGLES) * len(LENGTHS) + len(SPECIAL) + 20
BLOCKS = torch.cat([gram(f, r) for f, r in PAIRS.values()])
