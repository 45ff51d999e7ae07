"""HAMU's step against general-purpose solvers, and its guarantee in float32."""

from __future__ import annotations

import warnings
from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from tests.rules._hamu import SPLITS, VARIANTS, gram_of, hamu, steps
from unweave.gramian import block_index, combine, gramian
from unweave.rules import HAMU


def pair(generator: np.random.Generator, sine: float | None, sign: float) -> tuple[Any, Any]:
    """Raw gradients `(g_r, g_f)` of 2 to 7 dimensions, at a random angle or at one of the given sine."""
    n, scale = int(generator.integers(2, 8)), 10 ** generator.uniform(-2, 1, 2)
    r, f = (x / np.linalg.norm(x) for x in generator.normal(size=(2, n)))
    if sine is not None:
        across = f - (f @ r) * r
        f = sign * np.sqrt(1 - sine**2) * r + sine * across / np.linalg.norm(across)
    return scale[0] * r, scale[1] * f


def solve(a: Any, b: Any, c: float) -> float:
    """`max a.x subject to b.x >= c, |x| <= 1` for unit vectors, by SLSQP from the boundary and from within."""
    limits = [
        {"type": "ineq", "fun": lambda x: b @ x - c, "jac": lambda x: b},
        {"type": "ineq", "fun": lambda x: 1 - x @ x, "jac": lambda x: -2 * x},
    ]
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in (b * (1 + c) / 2 + 0.1 * a, c * b):
            result = minimize(
                lambda x: -a @ x, start, jac=lambda x: -a, constraints=limits, method="SLSQP", options={"ftol": 1e-13}
            )
            if result.success and b @ result.x >= c - 1e-8 and result.x @ result.x <= 1 + 1e-8:
                found.append(-result.fun)
    return max(found, default=-np.inf)


def test_no_solver_does_better() -> None:
    """Units of `R |a|`. In the collinear branch the step gives up at most the sine of the angle, below 1.2e-7."""
    generator, branches, solved = np.random.default_rng(1), Counter[tuple[str, str]](), 0
    for case in range(480):
        variant = VARIANTS[case % 2]
        sine = None if case % 3 else 0.0 if case // 12 % 2 else 10.0 ** generator.uniform(-8, -1)
        g_r, g_f = pair(generator, sine, (-1.0, 1.0)[case // 6 % 2])
        a, b = (g_r, -g_f) if variant == "hamu-q" else (-g_f, g_r)
        radius = None if case % 4 < 2 else float(10 ** generator.uniform(-2, 1))
        length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
        r, c = length_a if radius is None else radius, float(generator.uniform(0, 1.1))
        rule = hamu(variant, rate=c * r * length_b, radius=radius)
        branch = rule.branches(gram_of([g_r], [g_f], [0]))[0]
        branches[variant, branch] += 1
        assert (branch == "infeasible") == (c > 1)
        if branch == "infeasible":
            continue
        x = -steps(rule, [g_r], [g_f], 1.0, [0])[0].numpy() / r
        assert b @ x / length_b >= c - 1e-9 and x @ x <= 1 + 1e-8, (case, branch)
        best = solve(a / length_a, b / length_b, c)
        solved += best > -np.inf
        cosine = abs(a @ b) / (length_a * length_b)
        assert a @ x / length_a >= best - 2.2e-7, (case, branch, cosine)  # 1e-7: the solver's
        if branch != "collinear" and best > -np.inf:
            assert a @ x / length_a <= best + 2e-6, (case, branch, "better than possible: outside the set")
    for variant, branch in product(VARIANTS, ("direct", "rectified", "collinear", "infeasible")):
        assert branches[variant, branch] >= 15, branches
    assert solved >= 350, solved


def model(generator: np.random.Generator, case: int) -> tuple[list[Any], list[Any]]:
    """2 to 5 blocks, a third of them nearly collinear, in either direction."""
    blocks = [
        pair(
            generator,
            None if generator.uniform() > 1 / 3 else 10.0 ** generator.uniform(-9, -1),
            generator.choice([-1.0, 1.0]),
        )
        for _ in range(2 + case % 4)
    ]
    return [r for r, _ in blocks], [f for _, f in blocks]


def test_joint_reaches_its_dual_bound() -> None:
    """Weak duality: no feasible step beats `sum r_i |a_i + lam b_i| - lam q` for any `lam >= 0`."""
    generator, branches, checked = np.random.default_rng(2), Counter[str](), 0
    for case in range(120):
        variant, ratio = VARIANTS[case % 2], float(generator.uniform(0, 0.99))
        g_r, g_f = model(generator, case)
        a, b = (g_r, [-f for f in g_f]) if variant == "hamu-q" else ([-f for f in g_f], g_r)
        r = np.array([np.linalg.norm(x) for x in a]) if case % 4 < 2 else np.full(len(a), 0.7)
        quota = ratio * sum(r * [np.linalg.norm(x) for x in b])
        rule = hamu(variant, ratio=ratio, split="joint", radius=None if case % 4 < 2 else 0.7)
        index = list(range(len(a)))
        branches[rule.branches(gram_of(g_r, g_f, index))[0]] += 1
        d = [-x.numpy() for x in steps(rule, g_r, g_f, 1.0, index)]
        assert sum(y @ x for y, x in zip(b, d, strict=True)) >= quota * (1 - 1e-9), case
        assert all(np.linalg.norm(x) <= radius * (1 + 1e-8) for x, radius in zip(d, r, strict=True)), case

        def dual(lam: float, a: Any = a, b: Any = b, r: Any = r, quota: float = quota) -> float:
            return float(sum(r * [np.linalg.norm(x + lam * y) for x, y in zip(a, b, strict=True)]) - lam * quota)

        lengths = [np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]
        bounds = [
            minimize_scalar(dual, bounds=(0, high), method="bounded", options={"xatol": 1e-12 * high}).fun
            for high in (*lengths, 20 * max(lengths) / (1 - ratio))
        ]
        scale = sum(r * [np.linalg.norm(x) for x in a])
        gained = sum(x @ y for x, y in zip(a, d, strict=True))
        assert abs(min(*bounds, dual(0.0)) - gained) <= 3e-7 * scale, (case, branches)  # collinear: sine 1.2e-7
        checked += min(sine(x, y) for x, y in zip(a, b, strict=True)) < 1e-4
    assert branches["direct"] >= 15 and branches["rectified"] >= 40, branches
    assert checked >= 30


def sine(x: Any, y: Any) -> float:
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    return float(np.linalg.norm(x - (x @ y) * y))


def collinear(shapes: list[int], sine: float, sign: float, scales: tuple[float, float], seed: int) -> Any:
    """Raw float32 gradients of every tensor, whole vectors of the given lengths at the given angle."""
    generator = torch.Generator().manual_seed(seed)
    r, across = (torch.randn(sum(shapes), generator=generator, dtype=torch.float64) for _ in "ra")
    r /= r.norm()
    across -= (across @ r) * r
    f = sign * (1 - sine**2) ** 0.5 * r + sine * across / across.norm()
    return [[x.clone() for x in (s * v).float().split(shapes)] for s, v in zip(scales, (r, f), strict=True)]


def held(rule: HAMU, g_r: list[Tensor], g_f: list[Tensor], names: list[str], blocks: Any) -> tuple[float, float]:
    """Through Gramian and float32 combination: relative shortfall of the guarantee, and excess over the ball."""
    b_side, index = (0 if rule.guarantee == "forget" else 1), block_index(names, blocks)
    sides = ([-f for f in g_f], g_r)
    exact = [[x.double() for x in side] for side in sides]
    gram = gramian(sides, index)
    weights = rule.weights(gram)
    branches = rule.branches(gram)
    d = [x.double() for x in combine(sides, weights, gram, index)]
    assert all(x.isfinite().all() for x in d)
    shortfall = excess = quota_all = gain_all = 0.0
    lengths = gram.diagonal(dim1=1, dim2=2).sqrt()
    radius = lengths[:, 1 - b_side] if rule.radius is None else torch.full_like(lengths[:, 0], rule.radius)
    room = radius * lengths[:, b_side]
    quota = rule.ratio * room
    for block, branch in enumerate(branches):
        inside = [i for i, n in enumerate(index) if n == block]
        size = float(sum(d[i] @ d[i] for i in inside)) ** 0.5
        excess = max(excess, size / float(radius[block]) - 1)
        gain = float(sum(exact[b_side][i] @ d[i] for i in inside))
        quota_all, gain_all = quota_all + float(quota[block]), gain_all + gain
        if rule.split == "norm_product":
            assert branch != "infeasible"
            shortfall = max(shortfall, 1 - gain / float(quota[block]))
    if "infeasible" not in branches:
        shortfall = max(shortfall, 1 - gain_all / quota_all)
    return shortfall, excess


SCALES = ((1.0, 1.0), (1e-12, 1e-12), (1e12, 1e12), (1e-12, 1e12), (1e12, 1e-12), (3e-4, 0.7))


def test_the_guarantee_holds_in_float32() -> None:
    """`<b, D> >= q` and `|D| <= r` to 1e-6, for angles down to 1e-7 and beyond what float32 resolves."""
    checked = 0
    names = ["body.weight", "body.bias", "head.weight"]
    shapes = [[3, 2, 4], [40, 7, 3], [5000, 50, 300]]
    angles = [0.3, 0.2, *(10.0**-k for k in range(1, 8))]
    for n, (split, blocks, variant, sign, sine) in enumerate(
        product(SPLITS, ("tensor", "layer", "model"), VARIANTS, (1.0, -1.0), angles)
    ):
        for m, scales in enumerate(SCALES[n % 2 :: 2]):
            g_r, g_f = collinear(shapes[(n + m) % 3], sine, sign, scales, seed=n + 1000 * m)
            ratio = (0.1, 0.9, 0.4)[(n + m) % 7 % 3]
            rule = hamu(variant, ratio=ratio, split=split, infeasible="clip")
            short, long = held(rule, g_r, g_f, names, blocks)
            assert short <= 1e-6 and long <= 1e-6, (split, blocks, variant, sign, sine, scales, ratio, short, long)
            checked += 1
    assert checked == 4 * 3 * 2 * 2 * 9 * 3


def test_the_guarantee_holds_for_300_000_parameters() -> None:
    checked = 0
    for variant, sign, k in product(VARIANTS, (1.0, -1.0), range(1, 8)):
        g_r, g_f = collinear([300_000, 1], 10.0**-k, sign, (1e-3, 1e-2), seed=k)
        short, long = held(hamu(variant, ratio=0.3), g_r, g_f, ["a", "b"], "model")
        assert short <= 1e-6 and long <= 1e-6, (variant, sign, k, short, long)
        checked += 1
    assert checked == 28


def test_zero_rows_are_finite() -> None:
    """Blocks without one gradient, or without both, under every option; a block without any is not moved."""
    zero, some = [0.0, 0.0], [1.0, 2.0]
    gram = gram_of([some, zero, zero, some], [zero, some, zero, some], range(4))
    checked = 0
    for variant, split, policy, radius in product(VARIANTS, SPLITS, ("stop", "skip", "clip"), (None, 0.1)):
        for options in ({"ratio": 0.0}, {"ratio": 0.5}, {"rate": 0.0}, {"rate": 0.01}, {"rate": 1e3}):
            rule = hamu(variant, split=split, infeasible=policy, radius=radius, **options)
            weights = rule.weights(gram)
            branches, _ = rule.judge(gram, weights)
            assert weights.isfinite().all() and len(branches) == 4
            assert rule.weights(gram[2:3]).isfinite().all()
            checked += 1
    assert checked == 240
