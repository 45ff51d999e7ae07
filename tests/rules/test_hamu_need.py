"""A quota that follows the need: the share of the forget examples whose loss has not ended."""

from __future__ import annotations

import pytest
import torch

from tests.rules._hamu import G_F, G_R, SPLITS, VARIANTS, gram_of, hamu
from unweave.rules import HAMU

GRAM = gram_of(G_R, G_F, [0, 1, 2])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("radius", [None, 0.7])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("given", [{"ratio": 0.6}, {"rate": 0.1}])
def test_what_the_forget_side_gets_is_multiplied_by_its_share(
    variant: str, radius: float | None, split: str, given: dict[str, float]
) -> None:
    """The quota of HAMU-Q, and what HAMU-U's leaves; the retain side's share does not count."""
    options = {"radius": radius, "split": split, "infeasible": "clip"}
    follows, count = hamu(variant, need=True, **options, **given), 0
    guaranteed = 0 if variant == "hamu-q" else 1
    lengths = GRAM.diagonal(dim1=-2, dim2=-1).sqrt()
    room = float(((lengths[:, 1 - guaranteed] if radius is None else radius) * lengths[:, guaranteed]).sum())
    asked = given.get("rate", given.get("ratio", 0.0) * room)
    for need in (1.0, 0.7, 0.25):
        follows.hear(torch.tensor([need, 0.5], dtype=torch.float64))
        quota = need * asked if variant == "hamu-q" else room - need * (room - asked)
        expected = hamu(variant, rate=quota, **options)
        torch.testing.assert_close(follows.weights(GRAM), expected.weights(GRAM), rtol=1e-10, atol=1e-10)
        assert follows.branches(GRAM) == expected.branches(GRAM)
        count += 1
    assert count == 3


def test_without_need_the_share_is_not_read() -> None:
    rule = HAMU("forget", ratio=0.6)
    before = rule.weights(GRAM)
    rule.hear(torch.tensor([0.1, 0.2]))
    assert rule.weights(GRAM).equal(before) and rule.state_dict()["needed"] == 1.0


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("given", [{"ratio": 0.6}, {"rate": 0.1}])
@pytest.mark.parametrize("infeasible", ["stop", "clip", "skip"])
def test_where_all_have_ended_the_step_is_the_plain_one_of_the_other_side(
    split: str, given: dict[str, float], infeasible: str
) -> None:
    """No forget gradient and nothing owed: not infeasible, no reason to stop, and the retain gradient as it is."""
    gram = gram_of(G_R, [0 * f for f in G_F], [0, 1, 2])
    rule = hamu("hamu-q", need=True, split=split, infeasible=infeasible, patience=1, **given)
    rule.hear(torch.tensor([0.0, 1.0]))
    weights = rule.weights(gram)
    assert weights[:, 1].tolist() == pytest.approx([1, 1, 1], rel=1e-12)
    branches, stop = rule.judge(gram, weights)
    assert stop is None and set(branches) == {"direct"}


@pytest.mark.parametrize("infeasible", ["stop", "clip", "skip"])
@pytest.mark.parametrize("split", ["norm_product", "joint"])
def test_hamu_u_then_descends_the_retain_loss_at_its_radius(split: str, infeasible: str) -> None:
    gram = gram_of(G_R, [0 * f for f in G_F], [0, 1, 2])
    rule = hamu("hamu-u", need=True, ratio=0.5, radius=0.2, split=split, infeasible=infeasible, patience=1)
    rule.hear(torch.tensor([0.0, 1.0]))
    weights = rule.weights(gram)
    assert weights[:, 1].tolist() == pytest.approx((0.2 / gram[:, 1, 1].sqrt()).tolist(), rel=1e-12)
    assert rule.judge(gram, weights)[1] is None


def test_what_was_heard_is_resumed() -> None:
    first, second = HAMU("forget", need=True), HAMU("forget", need=True)
    first.hear(torch.tensor([0.3, 1.0]))
    second.load_state_dict(first.state_dict())
    assert second.weights(GRAM).equal(first.weights(GRAM)) and second.needed == pytest.approx(0.3)
