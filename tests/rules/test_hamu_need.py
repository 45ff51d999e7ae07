"""A quota that follows the need: the share of the guaranteed side's examples whose loss has not ended."""

from __future__ import annotations

import pytest
import torch

from tests.rules._hamu import G_F, G_R, SPLITS, VARIANTS, gram_of, hamu
from unweave.rules import HAMU

GRAM = gram_of(G_R, G_F, [0, 1, 2])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("given", [{"ratio": 0.6}, {"rate": 0.1}])
def test_the_quota_is_multiplied_by_the_share(variant: str, split: str, given: dict[str, float]) -> None:
    """And no other side's share counts."""
    follows, count = hamu(variant, need=True, split=split, infeasible="clip", **given), 0
    name, value = next(iter(given.items()))
    for share in (1.0, 0.7, 0.25):
        active = torch.full((2,), 0.5, dtype=torch.float64)
        active[follows.side] = share
        follows.hear(active)
        expected = hamu(variant, split=split, infeasible="clip", **{name: share * value})
        torch.testing.assert_close(follows.weights(GRAM), expected.weights(GRAM), rtol=1e-12, atol=1e-12)
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


def test_what_was_heard_is_resumed() -> None:
    first, second = HAMU("forget", need=True), HAMU("forget", need=True)
    first.hear(torch.tensor([0.3, 1.0]))
    second.load_state_dict(first.state_dict())
    assert second.weights(GRAM).equal(first.weights(GRAM)) and second.needed == pytest.approx(0.3)
