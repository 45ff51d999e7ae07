from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.reference import hamu as slow
from tests.rules._hamu import G_F, G_R, SPLITS, VARIANTS, gram_of, hamu, steps
from unweave.errors import ConfigurationError
from unweave.rules import HAMU, Step

# variant, g_r, g_f, quota, radius, branch, weight change, whether the retain (forget) objective must rise
TABLE = [
    ("hamu-q", (3, 4, 0), (-4, -3, 0), 0.5, 0.2, "direct", (-0.12, -0.16, 0), False),
    ("hamu-q", (3, 4, 0), (4, 3, 0), 0.5, 0.2, "rectified", (0.1839230485, -0.0785640646, 0), True),
    ("hamu-q", (1, 2, 2), (2, -1, 2), 0.3, 0.25, "rectified", (0.0571933573, -0.2417461387, -0.0280664267), False),
    ("hamu-q", (1, 2, 2), (2, -1, -1), 0.3, 0.25, "rectified", (-0.0258305739, -0.1758305739, -0.1758305739), False),
    ("hamu-q", (1, 2, 2), (2, 4, 4), 0.6, 0.25, "collinear", (1 / 30, 1 / 15, 1 / 15), True),
    ("hamu-q", (1, 2, 2), (-2, -4, -4), 0.6, 0.25, "direct", (-1 / 12, -1 / 6, -1 / 6), False),
    ("hamu-q", (3, 4, 0), (4, 3, 0), 0, 0.2, "rectified", (0.12, -0.16, 0), False),
    ("hamu-u", (3, 4, 0), (-4, -3, 0), 0.5, 0.2, "direct", (-0.16, -0.12, 0), False),
    ("hamu-u", (1, 2, 2), (2, -1, 2), 0.3, 0.25, "rectified", (0.0992929973, -0.2277129253, 0.0280664267), False),
    ("hamu-u", (3, 4, 0), (4, 3, 0), 0.5, 0.2, "rectified", (0.0785640646, -0.1839230485, 0), True),
    ("hamu-u", (1, 2, 2), (2, 4, 4), 0.6, 0.25, "collinear", (-1 / 15, -2 / 15, -2 / 15), True),
]


@pytest.mark.parametrize("row", TABLE)
def test_worked_examples(row: Any) -> None:
    variant, g_r, g_f, quota, radius, branch, expected, rises = row
    rule = hamu(variant, rate=quota, radius=radius, patience=1)
    gram = gram_of([g_r], [g_f], [0])
    assert steps(rule, [g_r], [g_f], 1.0, [0])[0].tolist() == pytest.approx(expected, rel=0, abs=6e-11)
    branches, stop = rule.judge(gram, rule.weights(gram))
    assert branches == (branch,)
    assert (stop is not None) == rises


NAMES = {"colinear": "collinear", "zero_forget_grad": "infeasible"}  # theirs: ours


def test_every_golden_row(vectors: Any) -> None:
    """To 1e-9. Beyond the ball the authors' code leaves it; `clip` goes the same way, as far as the ball allows."""
    rows, infeasible, radii = vectors("hamu"), 0, 0
    for row in rows:
        lr = row["lr"] or 1.0
        radius = None if row["lr"] else row["R"]
        rule = hamu(row["variant"], rate=row["Q"] / lr, radius=radius, infeasible="clip", patience=1)
        gram = gram_of([row["g_r"]], [row["g_f"]], [0])
        (found,), expected = (
            steps(rule, [row["g_r"]], [row["g_f"]], lr, [0]),
            torch.tensor(row["update"], dtype=torch.float64),
        )
        branches, stop = rule.judge(gram, rule.weights(gram))
        assert branches == (NAMES.get(row["branch"], row["branch"]),), row["name"]
        if row["branch"] == "infeasible":
            infeasible += 1
            assert row["norm"] > 1.5 * row["R"]
            expected = expected * row["R"] / row["norm"]
            refusing = hamu(row["variant"], rate=row["Q"] / lr, radius=radius)
            assert "infeasible" in (refusing.judge(gram, refusing.weights(gram))[1] or "")
            assert not refusing.weights(gram).any()
        else:
            assert (stop is not None) == row["stop_signed"], row["name"]
            effect = [float(found @ torch.tensor(row[g], dtype=torch.float64)) for g in ("g_r", "g_f")]
            assert effect == pytest.approx([row["dL_r"], row["dL_f"]], rel=1e-9, abs=1e-12)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        radii += row["lr"] is not None
    assert (len(rows), infeasible, radii) == (21, 2, 3)


LAYERWISE = {
    ("norm_product", "hamu-q"): [
        (0.0430769231, -0.0253846154),
        (-0.0169230769, 0.0223076923, -0.0107692308),
        (0.06,),
    ],
    ("norm_product", "hamu-u"): [(0.0253846154, -0.0430769231), (-0.0223076923, 0.0169230769, 0.0107692308), (0.03,)],
    ("uniform", "hamu-q"): [(0.0395803313, -0.0305515528), (-0.0215327249, 0.0208432275, 0.0013789947), (0.06,)],
    ("uniform", "hamu-u"): [(0.0305515528, -0.0395803313), (-0.0208432275, 0.0215327249, -0.0013789947), (0.03,)],
    ("softmax", "hamu-q"): [(0.0377613341, -0.0327731849), (-0.021568446, 0.0207943569, 0.0015481782), (0.06,)],
    ("joint", "hamu-q"): [(0.0230857653, -0.0443514086), (-0.0208734925, 0.0215099302, -0.0012728754), (0.06,)],
    ("joint", "hamu-u"): [(0.0443514086, -0.0230857653), (-0.0215099302, 0.0208734925, 0.0012728754), (0.03,)],
}
WHOLE = {
    "hamu-q": [(-0.0042708499, -0.0195972465), (-0.0212847309, 0.0246944589, -0.0068194561), (0.0740833768,)],
    "hamu-u": [(0.0264918904, 0.0134637085), (-0.0223962443, 0.0166883016, 0.0114158854), (0.0500649048,)],
}


def test_three_tensor_model() -> None:
    """Every split and the whole model: the specification's digits, and 1e-9 against the slow twin."""
    checked = 0
    for (split, variant), expected in LAYERWISE.items():
        found = steps(hamu(variant, rate=0.2, split=split), G_R, G_F, 0.1, [0, 1, 2])
        twin = (
            slow.joint(variant, G_R, G_F, 0.02, 0.1)[0]
            if split == "joint"
            else slow.layerwise(variant, G_R, G_F, 0.02, 0.1, split)
        )
        checked += agree(found, expected, twin)
    for variant, expected in WHOLE.items():
        found = steps(hamu(variant, rate=0.2), G_R, G_F, 0.1, [0, 0, 0])
        checked += agree(found, expected, slow.whole(variant, G_R, G_F, 0.02, 0.1))
    assert checked == 9
    assert slow.joint("hamu-q", G_R, G_F, 0.02, 0.1)[1] == pytest.approx(0.9137866267, abs=1e-10)


def agree(found: list[Tensor], digits: Any, twin: Any) -> int:
    for d, golden, t in zip(found, digits, twin, strict=True):
        assert d.tolist() == pytest.approx(golden, rel=0, abs=6e-11)
        assert d.tolist() == pytest.approx(list(t), rel=1e-9, abs=1e-13)
    return 1


def test_three_tensor_branches_and_sums() -> None:
    rule = hamu("hamu-q", rate=0.2, patience=1)
    gram = gram_of(G_R, G_F, [0, 1, 2])
    assert rule.branches(gram) == ("rectified", "rectified", "direct")
    assert rule.judge(gram, rule.weights(gram))[1] is None  # the unsigned bound says .016 < .02: stop
    found = steps(rule, G_R, G_F, 0.1, [0, 1, 2])
    assert sum(float(d @ torch.tensor(f)) for d, f in zip(found, G_F, strict=True)) == pytest.approx(0.031076923)
    assert sum(float(d @ torch.tensor(r)) for d, r in zip(found, G_R, strict=True)) == pytest.approx(-0.041538462)


def random_model(generator: np.random.Generator, blocks: int = 5) -> tuple[list[Any], list[Any]]:
    sizes = generator.integers(2, 7, blocks)
    return tuple([generator.normal(size=n) * 10 ** generator.uniform(-2, 1) for n in sizes] for _ in "rf")  # type: ignore[return-value]


def test_a_ratio_is_a_share_of_what_is_feasible() -> None:
    """`norm_product`: of every block; the others: of the sum. Equal to `rate = ratio * sum R_i |b_i|`."""
    generator, active, checked = np.random.default_rng(3), 0, 0
    for variant, split, ratio, radius in product(VARIANTS, SPLITS, (0.0, 0.1, 0.5, 0.9), (None, 0.3)):
        g_r, g_f = random_model(generator)
        gram = gram_of(g_r, g_f, range(5))
        b = 0 if variant == "hamu-q" else 1
        lengths = gram[:, [1 - b, b], [1 - b, b]].sqrt()
        room = (lengths[:, 0] if radius is None else radius) * lengths[:, 1]
        rule = hamu(variant, ratio=ratio, split=split, radius=radius, infeasible="clip")
        rated = hamu(variant, rate=ratio * float(room.sum()), split=split, radius=radius, infeasible="clip")
        weights = rule.weights(gram)
        torch.testing.assert_close(weights, rated.weights(gram), rtol=1e-9, atol=1e-12)
        gains, branches = (gram[:, b] * weights).sum(-1), rule.branches(gram)
        if split == "norm_product":
            for gain, possible, branch in zip(gains, room, branches, strict=True):
                assert float(gain) >= ratio * float(possible) * (1 - 1e-9) - 1e-12
                if branch == "rectified":
                    active += 1
                    assert float(gain) == pytest.approx(ratio * float(possible), rel=1e-9, abs=1e-12)
        elif split == "joint":
            total = ratio * float(room.sum())
            assert float(gains.sum()) >= total * (1 - 1e-9) - 1e-12
            if branches[0] == "rectified":
                active += 1
                assert float(gains.sum()) == pytest.approx(total, rel=1e-9, abs=1e-12)
        elif "infeasible" not in branches:
            assert float(gains.sum()) >= ratio * float(room.sum()) * (1 - 1e-9) - 1e-12
        checked += 1
    assert checked == 64 and active >= 40, active


def test_the_direct_step_is_plain_sgd_to_the_last_bit() -> None:
    """The radius of the paper is the length of SGD's step on the objective that is not guaranteed."""
    for variant, weights in (("hamu-q", [0.0, 1.0]), ("hamu-u", [1.0, 0.0])):
        gram = gram_of([[0.3, -1.7, 0.2]], [[-0.3, 1.4, -0.9]], [0])
        rule = hamu(variant, ratio=0.5)
        assert rule.branches(gram) == ("direct",)
        assert rule.weights(gram)[0].tolist() == weights


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("split", SPLITS)
def test_the_stopping_rule_knows_the_sign(variant: str, split: str) -> None:
    """Opposed raw gradients are the easiest case and never stop, aligned ones do, after `patience` steps in a row."""
    g = [np.array([0.6, 0.8]), np.array([0.1, -0.2, 0.3])]
    easy = gram_of(g, [-x + 1e-3 for x in g], [0, 1])
    hard = gram_of(g, [x + 1e-3 for x in g], [0, 1])
    rule = hamu(variant, ratio=0.5, split=split, patience=3, infeasible="clip")

    def stop(gram: Tensor, asked: HAMU = rule) -> str | None:
        return asked.judge(gram, asked.weights(gram))[1]

    assert [stop(easy) for _ in range(10)] == [None] * 10
    assert [stop(hard), stop(hard), stop(easy), stop(hard), stop(hard)] == [None] * 5  # easy starts the count again
    other = "retain" if variant == "hamu-q" else "forget"
    assert other in (stop(hard) or "")
    tolerant = hamu(variant, ratio=0.5, split=split, patience=1, slack=0.6, infeasible="clip")
    assert stop(hard, tolerant) is None
    patient = hamu(variant, ratio=0.5, split=split, infeasible="clip")
    assert [stop(hard, patient) for _ in range(10)] == [None] * 10


@pytest.mark.parametrize("variant", VARIANTS)
def test_infeasible_policies(variant: str) -> None:
    """Uniform quotas; the middle block is too short for its own."""
    g_r = [np.array([1.0, 2.0]), np.array([0.01, 0.02]), np.array([2.0, -1.0])]
    g_f = [np.array([2.0, 0.5]), np.array([0.02, -0.01]), np.array([1.0, 1.0])]
    options: Any = {"rate": 0.3, "split": "uniform"}
    gram, rules = gram_of(g_r, g_f, [0, 1, 2]), {p: hamu(variant, infeasible=p, **options) for p in POLICIES}
    weights = {p: rule.weights(gram) for p, rule in rules.items()}
    for policy, rule in rules.items():
        branches, stop = rule.judge(gram, weights[policy])
        assert branches[1] == "infeasible" and "infeasible" not in (branches[0], branches[2])
        assert (stop is not None) == (policy == "stop")
        assert weights[policy][[0, 2]].equal(weights["stop"][[0, 2]])
    assert "1 of 3 blocks" in (rules["stop"].judge(gram, weights["stop"])[1] or "")
    assert not weights["skip"][1].any()
    b = 0 if variant == "hamu-q" else 1
    radius, length = gram[1, 1 - b, 1 - b].sqrt(), gram[1, b, b].sqrt()
    assert weights["clip"][1, b] * length == pytest.approx(radius) and weights["clip"][1, 1 - b] == 0


POLICIES = ("stop", "skip", "clip")


def test_joint_that_cannot_be_met_follows_the_policy() -> None:
    gram = gram_of(G_R, G_F, [0, 1, 2])
    for policy in POLICIES:
        rule = hamu("hamu-q", rate=0.6, split="joint", infeasible=policy)  # feasible: .52
        weights = rule.weights(gram)
        branches, stop = rule.judge(gram, weights)
        assert branches == ("infeasible",) * 3 and (stop is not None) == (policy == "stop")
        gain = float((gram[:, 0] * weights).sum())
        assert gain == pytest.approx(0.52 if policy == "clip" else 0.0)


def test_predicted_change_is_what_the_step_does() -> None:
    gram = gram_of(G_R, G_F, [0, 1, 2])
    weights = hamu("hamu-q", rate=0.2).weights(gram)
    predicted = Step(torch.zeros(2), weights, gram).predicted
    assert predicted is not None and (0.1 * predicted).tolist() == pytest.approx([-0.031076923, -0.041538462])


def test_bad_values_are_named_together() -> None:
    with pytest.raises(ConfigurationError) as error:
        HAMU(rate=-1.0, ratio=1.0, radius=0.0)
    assert len(error.value.faults) == 3
