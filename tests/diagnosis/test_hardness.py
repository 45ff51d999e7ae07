from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unweave.diagnosis import cosine, feasible_quota, free_share, front, kappa, thresholds, verdict

VECTORS = Path(os.environ.get("UNWEAVE_VECTORS", Path(__file__).parents[3] / "shared" / "vectors"))


def gram(g_u: Tensor, g_r: Tensor) -> Tensor:
    both = torch.stack([g_u, g_r])
    return both @ both.T


def at_angle(degrees: float, a: float = 1.0, b: float = 1.0) -> Tensor:
    """Of gradients whose losses' gradients are `degrees` apart: `g_u = -grad L_f`."""
    theta = math.radians(degrees)
    g_f = torch.tensor([b, 0.0], dtype=torch.float64)
    return gram(-g_f, a * torch.tensor([math.cos(theta), math.sin(theta)], dtype=torch.float64))


@pytest.mark.skipif(not (VECTORS / "hamu.json").exists(), reason="golden vectors: set UNWEAVE_VECTORS to their folder")
def test_kappa_and_thresholds_are_the_papers() -> None:
    cases = json.loads((VECTORS / "hamu.json").read_text())
    infeasible = 0
    for case in cases:
        g_u, g_r = -torch.tensor(case["g_f"]).double(), torch.tensor(case["g_r"]).double()
        g = gram(g_u, g_r)
        guarantee = {"hamu-q": "forget", "hamu-u": "retain"}[case["variant"]]
        kappa1, kappa2 = thresholds(g, case["Q"] / case["R"], guarantee)
        assert float(kappa(g)) == pytest.approx(case["kappa"], abs=1e-9)
        assert float(kappa1) == pytest.approx(case["kappa1"], abs=1e-9)
        if case["kappa2"] is None:
            infeasible += 1
            assert kappa2.isnan()
        else:
            assert float(kappa2) == pytest.approx(case["kappa2"], abs=1e-9)
    assert (len(cases), infeasible) == (21, 4)


def test_cosine_and_quota_of_the_three_tensor_model() -> None:
    g_r = [[0.3, 0.4], [0.1, -0.2, 0.2], [-0.6]]
    g_f = [[0.4, 0.3], [-0.2, 0.1, 0.2], [0.3]]
    g = torch.stack([gram(-torch.tensor(f).double(), torch.tensor(r).double()) for f, r in zip(g_f, g_r, strict=True)])
    torch.testing.assert_close(kappa(g), torch.tensor([0.24, 0.0, -0.18]).double(), atol=1e-7, rtol=0)
    torch.testing.assert_close(cosine(g), torch.tensor([-0.96, 0.0, 1.0]).double(), atol=1e-7, rtol=0)
    assert float(feasible_quota(g)) == pytest.approx(0.52, abs=1e-7)
    whole = g.sum(0)
    kappa1, kappa2 = thresholds(whole, 0.02 / 0.0836660027)
    assert (float(kappa(whole)), float(kappa1)) == pytest.approx((0.06, -0.2), abs=1e-7)
    assert float(kappa2) == pytest.approx(0.5108815910, abs=1e-7)


def test_thresholds_tell_where_hamus_step_changes() -> None:
    """Direct below kappa1; the optimum raises the retain loss exactly above kappa2."""
    seen = set()
    for degrees in range(1, 180, 2):
        for share in (0.05, 0.3, 0.7, 0.95):
            g = at_angle(degrees, a=2.0, b=0.5)
            kappa1, kappa2 = thresholds(g, share * 0.5)
            change = float(front(g, torch.tensor([share]).double()))
            assert (kappa(g) <= kappa1) == (change == -1.0)
            assert (kappa(g) > kappa2) == (change > 0)
            seen.add((bool(kappa(g) <= kappa1), bool(kappa(g) > kappa2)))
    assert seen == {(True, False), (False, False), (False, True)}


def test_the_front_is_a_numeric_scan_of_the_ball() -> None:
    angles = np.linspace(0, 2 * np.pi, 200_001)
    ball = np.stack([np.cos(angles), np.sin(angles)])
    rng, cases = np.random.default_rng(0), 0
    for _ in range(60):
        g_f, g_r = rng.normal(size=(2, 2)) * 10 ** rng.uniform(-2, 2, size=(2, 1))
        g = gram(-torch.from_numpy(g_f), torch.from_numpy(g_r))
        for share in (0.0, 0.1, 0.5, 0.9, 1.0):
            allowed = g_f @ ball >= share * np.linalg.norm(g_f) - 1e-9 * np.linalg.norm(g_f)
            best = (g_r @ ball)[allowed].min() / np.linalg.norm(g_r)
            assert float(front(g, torch.tensor([share]).double())) == pytest.approx(best, abs=1e-4)
            cases += 1
    assert cases == 300


def test_the_front_never_falls_and_is_free_up_to_the_free_share() -> None:
    shares = torch.linspace(0, 1, 1001, dtype=torch.float64)
    for degrees in (0.5, 10, 45, 89, 90, 91, 135, 179.5):
        g = at_angle(degrees, a=3.0)
        change, free = front(g, shares), float(free_share(g))
        assert bool((change.diff() >= -1e-12).all()) and -1 <= float(change.min()) <= float(change.max()) <= 1
        assert bool((change[shares <= free - 1e-9] <= 1e-9).all())
        assert bool((change[shares >= free + 1e-9] > 0).all())
        assert free == pytest.approx(math.sin(math.radians(degrees)) if degrees < 90 else 1.0)
        assert float(change[-1]) == pytest.approx(math.cos(math.radians(degrees)))


def test_hardness_does_not_depend_on_scale() -> None:
    for scale in (1e-12, 1.0, 1e12):
        g = at_angle(50, a=scale, b=1e-6)
        assert float(cosine(g)) == pytest.approx(-math.cos(math.radians(50)))
        assert verdict(g, 0.1).level == "hard"


def test_verdicts_and_their_reasons() -> None:
    cases = [(120, 0.1, "easy"), (90.1, 1.0, "easy"), (60, 0.1, "hard"), (60, 0.9, "infeasible")]
    cases += [(3, 0.04, "hard"), (3, 0.1, "infeasible")]
    for degrees, share, level in cases:
        assert verdict(at_angle(degrees), share).level == level
    assert "87% of the fastest forgetting is free of harm; 10% leaves 81%" in verdict(at_angle(60), 0.1).reason
    assert "90% is not, every such step raises the retain loss" in verdict(at_angle(60), 0.9).reason


def test_a_conflict_that_is_chance_or_slight_is_not_called_hard() -> None:
    assert verdict(at_angle(60), 0.1, error=0.2).level == "hard"
    chance = verdict(at_angle(60), 0.1, error=0.3)
    assert chance.level == "easy" and "standard error 0.3" in chance.reason
    slight = verdict(at_angle(73), 0.1)  # sin 73 = .956
    assert slight.level == "easy" and "only slightly" in slight.reason and "96%" in slight.reason
    assert verdict(at_angle(71), 0.1).level == "hard" and verdict(at_angle(73), 0.97).level == "infeasible"


def test_a_zero_gradient_has_no_cosine_and_no_nan_elsewhere() -> None:
    zero, one = torch.zeros(2).double(), torch.ones(2).double()
    shares = torch.tensor([0.0, 0.5, 1.0]).double()
    for g_u, g_r, level in ((zero, one, "infeasible"), (one, zero, "easy"), (zero, zero, "infeasible")):
        g = gram(g_u, g_r)
        assert cosine(g).isnan() and float(kappa(g)) == 0 and float(feasible_quota(g)) == 0
        assert float(free_share(g)) == 1 and front(g, shares).tolist() == [0, 0, 0]
        assert verdict(g, 0.1).level == level
    assert "zero" in verdict(gram(zero, one), 0.1).reason
