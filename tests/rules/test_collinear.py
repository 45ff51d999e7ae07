"""Between collinear and not: every rule against exact rational arithmetic, from orthogonal down to what rounds away.

Units: gradients of length 1, steps of radius 1. A Gramian in float64 knows sin^2 to 9e-16, so a step's orthogonal part
is known to 9e-16 / sin^2 of it, and lost altogether below 1.4e-14 (float32 gradients: 9e-13, their own rounding).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.rules._hamu import VARIANTS, gram_of, hamu
from unweave.gramian import combine, gramian, sine2
from unweave.rules import GRU, GradientRule, Nash, NGDiff, PCGrad, Step, UnilateralSurgery

Vector = list[Fraction]
SINES2 = [10.0**-k for k in np.arange(0.25, 16.25, 0.5)]
DOUBT, LINE = 2e-15, {torch.float64: 1.5e-14, torch.float32: 1e-12}


def exact(values: Tensor) -> Vector:
    return [Fraction(x) for x in values.tolist()]


def dot(x: Vector, y: Vector) -> Fraction:
    return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))


def along(x: Vector, factor: Fraction, y: Vector) -> Vector:
    """`x + factor y`."""
    return [a + factor * b for a, b in zip(x, y, strict=True)]


def unit(x: Vector) -> Any:
    """The direction of a vector in float64; its length is found without underflow."""
    largest = max(map(abs, x))
    scaled = np.array([float(a / largest) for a in x]) if largest else np.zeros(len(x))
    return scaled / (np.linalg.norm(scaled) or 1.0)


def across(x: Vector, y: Vector) -> Vector:
    """What of x is orthogonal to y."""
    return along(x, -dot(x, y) / dot(y, y), y)


def squared_sine(x: Vector, y: Vector) -> float:
    rest = across(x, y)
    return float(dot(rest, rest) / dot(x, x))


def pair(sine2: float, sign: float, seed: int, dtype: torch.dtype, n: int = 5) -> tuple[Tensor, Tensor]:
    """Two gradients at that angle (its supplement for a negative sign), of different lengths."""
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(2, n))
    x /= np.linalg.norm(x)
    y -= (y @ x) * x
    y = sign * math.sqrt(1 - sine2) * x + math.sqrt(sine2) * y / np.linalg.norm(y)
    long, short = 10 ** generator.uniform(-2, 1, 2)
    return torch.tensor(long * x).to(dtype), torch.tensor(short * y).to(dtype)


def taken(rule: GradientRule, f: Tensor, r: Tensor) -> Tensor:
    """The direction, by Gramian and combination, in float64."""
    gram = gramian(([f], [r]), [0])
    return combine(([f], [r.clone()]), rule.weights(gram), gram, [0])[0].double()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_hamu_is_optimal_at_every_angle(dtype: torch.dtype) -> None:
    branches, checked = Counter[str](), 0
    eps = torch.finfo(dtype).eps
    cases = product(SINES2, (1.0, -1.0), VARIANTS, (None, 0.7), (0.1, 0.6, 0.95))
    for seed, (wanted, sign, variant, radius, c) in enumerate(cases):
        f, r = pair(wanted, sign, seed, dtype)
        a, b = (exact(r), exact(f)) if variant == "hamu-q" else (exact(f), exact(r))
        s2, rule = squared_sine(a, b), hamu(variant, ratio=c, radius=radius)
        size = radius or math.sqrt(dot(a, a))
        branch = rule.branches(gramian(([f], [r]), [0]))[0]
        branches[branch] += 1
        x = taken(rule, f, r).numpy() / size
        best = unit(a)
        if best @ unit(b) < c:
            best = c * unit(b) + math.sqrt(1 - c * c) * unit(across(a, b))
        rounding = 4 * eps + 4e-16 / math.sqrt(max(s2, LINE[torch.float64]))
        assert unit(b) @ x >= c - rounding and np.linalg.norm(x) <= 1 + rounding, (dtype, s2, branch)
        lost = min(DOUBT / max(s2, LINE[dtype]), 1.0) if s2 > LINE[dtype] else 1.0
        assert unit(a) @ (best - x) <= lost * math.sqrt(s2) + rounding, (dtype, s2, branch)
        if s2 > LINE[dtype]:
            assert branch != "collinear" and np.linalg.norm(x - best) <= lost + rounding, (dtype, s2, branch)
        checked += 1
    assert checked == len(SINES2) * 2 * 2 * 2 * 3 and min(branches[b] for b in ("direct", "rectified")) > 100
    assert branches["collinear"] >= (25 if dtype == torch.float64 else 60), branches


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_joint_split_of_one_block_is_the_closed_form_at_every_angle(dtype: torch.dtype) -> None:
    checked = 0
    for seed, (wanted, sign, variant) in enumerate(product(SINES2, (1.0, -1.0), VARIANTS)):
        f, r = pair(wanted, sign, seed, dtype)
        gram = gramian(([f], [r]), [0])
        one, joint = (hamu(variant, ratio=0.4, split=split) for split in ("norm_product", "joint"))
        if one.branches(gram) == ("collinear",):
            continue
        difference = taken(one, f, r) - taken(joint, f, r)
        size = float(gram[0].diagonal()[1 if variant == "hamu-q" else 0].sqrt())
        assert difference.norm() <= 1e-6 * size, (wanted, sign, variant)
        checked += 1
    assert checked >= 100


def normalised(x: Vector, y: Vector) -> Any:
    """`x/|x| + y/|y|`, whose direction is that of the orthogonal part where the two are all but opposed."""
    cosine = float(unit(x) @ unit(y))
    if cosine > -0.9:
        return unit(x) + unit(y)
    sine2 = squared_sine(x, y)
    return math.sqrt(sine2) * unit(across(x, y)) + sine2 / (1 - cosine) * unit(y)  # 1 + cos, without cancellation


def surgery(u: Vector, r: Vector) -> Any:
    return unit(u) if dot(u, r) >= 0 else unit(across(u, r)) * math.sqrt(squared_sine(u, r))


RULES: dict[str, tuple[GradientRule, Callable[[Vector, Vector], Any], bool]] = {  # and whether it is in units of |g_u|
    "gru": (GRU(), surgery, True),
    "surgery": (UnilateralSurgery(), surgery, True),
    "ngdiff": (NGDiff(), normalised, False),
    "nash": (Nash(), lambda u, r: math.sqrt(2) * unit_of(normalised(u, r)), False),
}


def unit_of(x: Any) -> Any:
    return x / np.linalg.norm(x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", RULES)
def test_other_rules_are_exact_at_every_angle(name: str, dtype: torch.dtype) -> None:
    """Opposed gradients leave them nearly nothing: what is left is exact, or it is zero where it is rounding."""
    rule, formula, relative = RULES[name]
    checked = 0
    for seed, (wanted, sign) in enumerate(product(SINES2, (1.0, -1.0))):
        f, r = pair(wanted, sign, seed, dtype)
        u, v = exact(f), exact(r)
        s2 = squared_sine(u, v)
        x = taken(rule, f, r).numpy() / (math.sqrt(dot(u, u)) if relative else 1.0)
        if s2 > LINE[dtype] or sign > 0:
            best = formula(u, v)
            size = np.linalg.norm(best)
            tolerance = 4 * torch.finfo(dtype).eps + 4e-16 / math.sqrt(s2)
            tolerance += DOUBT / s2 * (name == "nash" and sign < 0)
            assert np.linalg.norm(x - best) <= tolerance * size, (name, s2, sign)
            checked += 1
        else:
            assert np.linalg.norm(x) <= 1.1 * math.sqrt(LINE[dtype]), (name, s2)
    assert checked >= 48


def test_pcgrad_is_exact_at_every_angle() -> None:
    checked = 0
    for seed, (wanted, sign) in enumerate(product(SINES2, (1.0, -1.0))):
        f, r = pair(wanted, sign, seed, torch.float64)
        u, v = exact(f), exact(r)
        s2 = squared_sine(u, v)
        if s2 <= LINE[torch.float64]:
            continue
        best = along(u, Fraction(1), v) if dot(u, v) >= 0 else along(across(u, v), Fraction(1), across(v, u))
        expected = np.array([float(x) for x in best])
        x = taken(PCGrad(), f, r).numpy()
        terms = max(float(f.norm()), float(r.norm()))
        assert np.linalg.norm(x - expected) <= 8e-16 * terms, (s2, sign)
        checked += 1
    assert checked == 2 * 28


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", [GRU(), PCGrad(), NGDiff(), UnilateralSurgery(), Nash()])
def test_what_rounding_alone_leaves_is_no_step(rule: GradientRule, dtype: torch.dtype) -> None:
    """Opposed but for rounding: the sum is zero, and so is its length, which a trust region divides by."""
    f = torch.randn(3000, dtype=torch.float64)
    f, r = f.to(dtype), (-0.3 * f).to(dtype)
    if dtype != torch.float64:
        assert (f.double() * 0.3 + r.double()).any()
    gram = gramian(([f], [r]), [0])
    weights = rule.weights(gram)
    assert Step(torch.zeros(2), weights, gram).length == 0.0
    assert not combine(([f], [r]), weights, gram, [0])[0].any()


def test_an_objective_without_a_gradient_leaves_the_quota_to_the_other() -> None:
    """`a = 0` with a radius of its own: any step that meets the quota is optimal, and none is not."""
    checked = 0
    for variant, split, ratio in product(VARIANTS, ("norm_product", "uniform", "softmax", "joint"), (0.2, 0.9)):
        some = [1.0, -2.0, 0.5]
        g_r, g_f = ([0.0] * 3, some) if variant == "hamu-q" else (some, [0.0] * 3)
        gram, b = gram_of([g_r], [g_f], [0]), 0 if variant == "hamu-q" else 1
        rule = hamu(variant, ratio=ratio, radius=0.3, split=split)
        weights = rule.weights(gram)
        quota = ratio * 0.3 * math.sqrt(5.25)
        assert float((gram[0, b] * weights[0]).sum()) == pytest.approx(quota)
        branches, stop = rule.judge(gram, weights)
        assert stop is None and (split == "joint" or branches == ("collinear",))
        checked += 1
    assert checked == 16


def test_the_gramian_knows_the_precision_of_its_gradients() -> None:
    """One direction: where the angle is that of rounding in the gradients' own type, the coarsest in the block."""
    x, y = torch.randn(2, 4096, dtype=torch.float64)
    x, y = x / x.norm(), y / y.norm()
    y = y - (y @ x) * x
    found = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for sine in (1e-8, 3e-7, 3e-6, 3e-2, 0.2):
            f, r = x.to(dtype), (sine * y - x).to(dtype)
            gram = gramian(([f], [r]), [0])[0]
            found[dtype, sine] = bool(sine2(gram[None]) < 2e-15)
            assert gram[0, 1] == gram[1, 0] < 0
            product = (gram[0, 0] * gram[1, 1]).sqrt()
            torch.testing.assert_close(-gram[0, 1], product if found[dtype, sine] else -(f.double() @ r.double()))
    on_one_line = {torch.float64: {1e-8}, torch.float32: {1e-8, 3e-7}, torch.bfloat16: {1e-8, 3e-7, 3e-6, 3e-2}}
    assert {key for key, one in found.items() if one} == {(d, s) for d, sines in on_one_line.items() for s in sines}
    for index, one in (([0, 0], [True]), ([0, 1], [False, True])):
        pairs = [x, x.bfloat16()], [3e-2 * y - x, (3e-2 * y - x).bfloat16()]
        assert (sine2(gramian(pairs, index)) < 2e-15).tolist() == one


def test_long_float32_gradients_have_their_angle_to_the_last_digits() -> None:
    """Squares of float32 numbers are biased in their last bits: summed in a row, 300,000 of them are off by 4e-14."""
    x, y = torch.randn(2, 300_000).float()
    for angle in (1e-4, 1e-5):
        f, r = x, x + angle * y
        products = [np.sum(a.numpy().astype(np.longdouble) * b.numpy()) for a, b in ((f, f), (f, r), (r, r))]
        gram = gramian(([f], [r]), [0])[0]
        found = gram.flatten()[[0, 1, 3]].tolist()
        assert found == pytest.approx([float(p) for p in products], rel=2e-15, abs=0)
