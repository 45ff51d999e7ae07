"""HAMU's thresholds and scales: when a rise counts, how the ratio follows, what is said of a refusal."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.rules._hamu import SPLITS, VARIANTS, gram_of, hamu
from unweave.errors import ConfigurationError
from unweave.rules import HAMU
from unweave.rules._base import FORGET, RETAIN, Left

# Raw gradients of two blocks, of lengths far from 1, that fall together: the quota costs the other objective.
HARD_R = [np.array([6.0, 8.0]), np.array([0.3, 0.0, -0.4])]
HARD_F = [np.array([5.0, 9.0]), np.array([0.4, 0.1, -0.3])]


@pytest.mark.parametrize("radius", [None, 0.3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_slack_is_a_share_of_radius_times_length(variant: str, radius: float | None) -> None:
    """The rise that is tolerated is `slack sum_i R_i |a_i|`, on both sides of what is predicted, in either unit."""
    gram, side = gram_of(HARD_R, HARD_F, [0, 1]), 0 if variant == "hamu-u" else 1
    lengths = gram[:, side, side].sqrt()
    whole = float(((lengths if radius is None else radius) * lengths).sum())
    weights = hamu(variant, ratio=0.9, radius=radius).weights(gram)
    rise = -float((gram[:, side] * weights).sum())
    assert 0.05 * whole < rise < whole
    for slack, stops in ((1.001 * rise / whole, False), (0.999 * rise / whole, True)):
        rule = hamu(variant, ratio=0.9, radius=radius, slack=slack, patience=1)
        assert (rule.judge(gram, weights)[1] is not None) == stops
        assert rule.strikes == int(stops)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_decided_at_once_is_what_weights_and_judge_say(variant: str, split: str) -> None:
    """Refusals too: those of a quota that no step meets, and of steps in a row that cost the other objective."""
    draw, refused = np.random.default_rng(0), []
    for rate in (1e-3, 1.0, 1e3):
        at_once, apart = (hamu(variant, rate=rate, split=split, patience=2) for _ in range(2))
        for _ in range(10):
            gram = gram_of(HARD_R, [f + draw.normal(size=f.shape) for f in HARD_F], [0, 1])
            weights = apart.weights(gram)
            decided, branches, stop = at_once.decide(gram)
            assert decided.equal(weights) and (branches, stop) == apart.judge(gram, weights)
            assert at_once.strikes == apart.strikes
            refused.append(stop is not None)
    assert any(refused) and not all(refused)


def left(rule: HAMU, excess: float, share: float = 1.0, predicted: tuple[float, float] = (-3.0, 1.0)) -> Left:
    """A step whose other objective ended so much above the prediction, in units of both predicted changes."""
    expected = torch.tensor(predicted, dtype=torch.float64)
    realised = expected.clone()
    realised[1 - rule.side] += excess * float(expected.abs().sum())
    realised[rule.side] += 99.0  # what is guaranteed does not steer
    return Left(share, 1.0, 5, 0.1, expected, realised)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_ratio_follows_what_steps_do(variant: str) -> None:
    rule = hamu(variant, ratio="auto")
    assert rule.needs_contract and rule.share == 0.1 and rule.side == (FORGET if variant == "hamu-q" else RETAIN)
    rule.steer(left(rule, 0.25))
    assert rule.share == pytest.approx(0.115)
    rule.steer(left(rule, 0.26))
    assert rule.share == pytest.approx(0.115 * 0.7)
    rule.steer(left(rule, -5.0))
    assert rule.share == pytest.approx(0.115 * 0.7 * 1.15)
    for _ in range(20):
        rule.steer(left(rule, 1.0))
    assert rule.share == 0.02
    for _ in range(40):
        rule.steer(left(rule, 0.0))
    assert rule.share == 0.4
    rule.steer(left(rule, 0.0, share=0.5))
    assert rule.share == 0.2
    rule.steer(left(rule, 0.0, share=0.01))
    assert rule.share == 0.02
    rule.steer(Left(1.0, 1.0, 5, 0.1))
    rule.steer(Left(1.0, 1.0, 5, 0.1, torch.zeros(2)))
    rule.steer(Left(1.0, 1.0, 5, 0.1, None, torch.zeros(2)))
    assert rule.share == 0.02, "without a prediction and a reading it stays"
    fixed = hamu(variant, ratio=0.3)
    fixed.steer(left(fixed, 1.0))
    assert fixed.share == 0.3 and not fixed.needs_contract


def test_the_ratio_is_that_of_the_share() -> None:
    gram = gram_of(HARD_R, HARD_F, [0, 1])
    auto = HAMU(ratio="auto")
    assert auto.weights(gram).equal(HAMU(ratio=0.1).weights(gram))
    auto.share = 0.3
    assert auto.weights(gram).equal(HAMU(ratio=0.3).weights(gram))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_refusal_says_how_much_would_be_feasible(variant: str) -> None:
    gram = gram_of(HARD_R, HARD_F, [0, 1])
    side = 0 if variant == "hamu-q" else 1
    own, other = gram[:, side, side].sqrt(), gram[:, 1 - side, 1 - side].sqrt()
    room = float((own * other).sum())
    for split in SPLITS:
        rule = hamu(variant, rate=2 * room, split=split)
        branches, why = rule.judge(gram, rule.weights(gram))
        assert why is not None and "infeasible" in branches
        assert f"(asked {2 * room:.3g} per unit of lr, feasible {room:.3g})" in why
        feasible = hamu(variant, rate=0.999 * room)
        assert "infeasible" not in feasible.branches(gram) and feasible.judge(gram, feasible.weights(gram))[1] is None


def test_a_refusal_where_nothing_is_feasible_says_what_was_asked() -> None:
    gram = gram_of([[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 2.0]], [0, 1])
    for split in SPLITS:
        rule = hamu("hamu-q", rate=0.5, split=split)
        assert "(asked 0.5 per unit of lr, feasible 0)" in (rule.judge(gram, rule.weights(gram))[1] or "")


def test_a_quota_of_exactly_the_room_is_feasible() -> None:
    for variant, split in product(VARIANTS, ("norm_product", "joint")):
        gram = gram_of([[3.0, 4.0]], [[1.0, 0.0]], [0])
        for ratio, feasible in ((1.0, True), (1.0 + 1e-9, False)):
            rule = hamu(variant, rate=5.0 * ratio, split=split)
            assert (rule.branches(gram) != ("infeasible",)) == feasible


def quotas(rule: HAMU, gram: Tensor) -> list[float]:
    """What each block gains where its quota binds."""
    side = 0 if rule.guarantee == "forget" else 1
    return [float(x) for x in (gram[:, side] * rule.weights(gram)).sum(-1)]


def test_how_the_quota_is_split() -> None:
    """Of conflicting blocks every quota binds: uniform, by the inner product's softmax, by the room."""
    gram = gram_of(HARD_R, HARD_F, [0, 1])
    a, b = gram[:, 1, 1].sqrt(), gram[:, 0, 0].sqrt()
    for radius, r in ((None, a), (0.5, torch.full_like(a, 0.5))):
        room = r * b
        options = {"rate": 0.2 * float(room.min()), "radius": radius}
        total = options["rate"]
        assert quotas(HAMU(split="uniform", **options), gram) == pytest.approx([total / 2] * 2)  # type: ignore[arg-type]
        shares = (total * room / room.sum()).tolist()
        assert quotas(HAMU(**options), gram) == pytest.approx(shares)  # type: ignore[arg-type]
        small = gram * 1e-2
        soft = (small[:, 0, 1]).softmax(0)
        rule = HAMU(split="softmax", rate=1e-4, radius=radius)
        assert quotas(rule, small) == pytest.approx((1e-4 * soft).tolist())


def test_joint_says_direct_where_nothing_is_asked_of_it() -> None:
    """Opposed raw gradients: the direct steps deliver more than the quota of all blocks together."""
    gram = gram_of(HARD_R, [-x for x in HARD_F], [0, 1])
    for variant in VARIANTS:
        rule = hamu(variant, ratio=0.5, split="joint")
        assert rule.branches(gram) == ("direct",) * 2
        assert rule.weights(gram).tolist() == [[0.0, 1.0]] * 2 if variant == "hamu-q" else [[1.0, 0.0]] * 2
        delivered = float(gram[:, 0, 1].sum())  # of radius |a|
        room = float((gram[:, 0, 0] * gram[:, 1, 1]).sqrt().sum())
        for factor, branch in ((0.999, "direct"), (1.001, "rectified")):
            assert hamu(variant, rate=factor * delivered, split="joint").branches(gram) == (branch,) * 2
        assert delivered < room


@pytest.mark.parametrize("radius", [None, 0.3])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_joint_is_direct_up_to_what_the_direct_steps_deliver(scale: float, radius: float | None) -> None:
    """`sum_i R_i/|a_i| <a_i, b_i>`; one block takes from it, one without an objective adds nothing."""
    g_r = [scale * np.array([1.0, 0.2]), scale * np.array([0.4, -0.3]), np.zeros(2)]
    g_f = [scale * np.array([-1.0, 0.1]), scale * np.array([0.2, -0.6]), scale * np.array([0.5, 0.0])]
    gram = gram_of(g_r, g_f, [0, 1, 2])
    length = [np.linalg.norm(g) for g in g_r[:2]]
    shares = [1.0 if radius is None else radius / n for n in length]
    delivered = -sum(s * (a @ b) for s, a, b in zip(shares, g_r, g_f, strict=False))
    for factor, branch in ((0.999, "direct"), (1.001, "rectified")):
        rule = HAMU(rate=factor * float(delivered), split="joint", radius=radius)
        assert rule.branches(gram) == (branch,) * 3
        weights = rule.weights(gram)
        assert float((gram[:, FORGET] * weights).sum()) >= 0.999999 * factor * delivered
        if branch == "direct":
            assert weights.numpy() == pytest.approx(np.array([[0.0, s] for s in (*shares, 0.0)]))


def test_ranges() -> None:
    for wrong in ({"ratio": 1.0}, {"ratio": -0.1}, {"rate": -1.0}, {"radius": 0.0}, {"patience": 0}, {"slack": -0.1}):
        with pytest.raises(ConfigurationError):
            HAMU(**wrong)  # type: ignore[arg-type]
    for right in ({"ratio": 0.0}, {"rate": 0.0}, {"radius": 1e-9}, {"patience": 1}, {"slack": 0.0}):
        HAMU(**right)  # type: ignore[arg-type]
    assert math.isclose(HAMU().share, 0.1)


@pytest.mark.parametrize("length", [1.0, 2.0])
@pytest.mark.parametrize("variant", VARIANTS)
def test_without_the_other_gradient_a_step_is_no_longer_than_its_quota_asks(variant: str, length: float) -> None:
    """a = 0: every step that meets the quota is as good; the shortest is `q / |b|` along b."""
    some, none = [np.array([0.6, 0.8]) * length], [np.zeros(2)]
    gram = gram_of(none, some, [0]) if variant == "hamu-q" else gram_of(some, none, [0])
    rule = hamu(variant, ratio=0.5, radius=0.3)
    side = 0 if variant == "hamu-q" else 1
    weights = rule.weights(gram)[0].tolist()
    assert rule.branches(gram) == ("collinear",)
    assert weights[side] == pytest.approx(0.5 * 0.3 / length) and weights[1 - side] == 0.0


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("split", SPLITS)
def test_a_quota_of_nothing_leaves_orthogonal_gradients_to_plain_sgd(variant: str, split: str) -> None:
    """`<a, b> = 0 >= 0`: the direct step, to the last bit."""
    gram = gram_of([[0.3, 0.0], [0.0, 0.7]], [[0.0, 1.1], [0.2, 0.0]], [0, 1])
    rule = hamu(variant, ratio=0.0, split=split)
    assert rule.branches(gram) == ("direct",) * 2
    assert rule.weights(gram).tolist() == [[0.0, 1.0] if variant == "hamu-q" else [1.0, 0.0]] * 2


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("split", ["norm_product", "joint"])
def test_a_quota_of_all_the_room_goes_to_the_ball_along_what_is_guaranteed(variant: str, split: str) -> None:
    """`Q = sum_i R_i |b_i|` has one solution, `R_i b_i / |b_i|`, and rounding of a share is no reason to refuse it."""
    generator, side = np.random.default_rng(0), 0 if variant == "hamu-q" else 1
    for _ in range(50):
        g_r, g_f = ([generator.normal(size=4) * 10 ** generator.uniform(-2, 2) for _ in range(5)] for _ in "rf")
        gram = gram_of(g_r, g_f, range(5))
        b, radius = gram[:, side, side].sqrt(), gram[:, 1 - side, 1 - side].sqrt()
        rule = hamu(variant, rate=float((radius * b).sum()), split=split)
        weights = rule.weights(gram)
        assert "infeasible" not in rule.branches(gram)
        gain, length = (gram[:, side] * weights).sum(-1), torch.einsum("bi,bij,bj->b", weights, gram, weights).sqrt()
        torch.testing.assert_close(gain, radius * b, rtol=1e-7, atol=0.0)
        torch.testing.assert_close(length, radius, rtol=1e-7, atol=0.0)
