"""What a rule is when it says nothing of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.rules._functions import objectives
from unweave.rules import EUPMU, GRU, HAMU, OFMU, Fixed, LossRule, Nash, PCGrad, Step, UnilateralSurgery
from unweave.rules._base import FORGET, RETAIN
from unweave.rules.eupmu_compat import EUPMUCompat
from unweave.rules.ofmu import _guarded


def test_defaults() -> None:
    for rule in (GRU(), PCGrad(), Nash(), Fixed(), HAMU(ratio=0.2)):
        assert rule.needs_contract is False and rule.needs_probe is False
        assert rule.state_dict() == {} or "strikes" in rule.state_dict()
    assert (GRU().side, PCGrad().side, HAMU("forget").side, HAMU("retain").side) == (FORGET, FORGET, FORGET, RETAIN)
    assert EUPMU().needs_losses is True and Fixed().needs_losses is False
    bare = Step(torch.zeros(2), torch.ones(1, 2))
    assert bare.side == FORGET and bare.predicted is None and bare.length is None and bare.stop is None


def test_what_a_step_predicts_and_how_long_it_is() -> None:
    """By hand: blocks of gradients (1, 0), (1, 1) and (0, 2), (0, -1), weights (2, 1) and (1, 3)."""
    gram = torch.tensor([[[1.0, 1.0], [1.0, 2.0]], [[4.0, -2.0], [-2.0, 1.0]]], dtype=torch.float64)
    step = Step(torch.zeros(2), torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64), gram)
    assert step.predicted is not None and step.predicted.tolist() == [-(3.0 - 2.0), -(4.0 + 1.0)]
    assert step.length == pytest.approx((10.0 + 1.0) ** 0.5)  # (3, 1) and (0, -1)


class Seen(LossRule):
    """Notes what its weights were asked with, and asks for losses or not."""

    def __init__(self, asks: bool | None = None) -> None:
        self.asks, self.losses = asks, list[list[float]]()

    @property
    def needs_losses(self) -> bool:
        return super().needs_losses if self.asks is None else self.asks

    def weights(self, losses: Tensor) -> Tensor:
        self.losses.append(losses.tolist())
        return torch.tensor([2.0, 3.0], dtype=torch.float64)


@pytest.mark.parametrize("asks", [None, True, False])
def test_a_rule_on_losses_is_given_them_unless_it_asks_for_none(asks: bool | None) -> None:
    _, given = objectives([1.0, 2.0], lambda t: t[0] + 4.0, lambda t: 2 * t[1] + 7.0)
    rule = Seen(asks)
    expected = given.losses().tolist()
    step = rule.backward(given)
    assert rule.losses == [[0.0, 0.0] if asks is False else expected]
    assert step.losses.tolist() == expected and step.weights.tolist() == [[2.0, 3.0]] and step.gramian is None
    assert given.direction()[0].tolist() == [2.0, 6.0]


def test_a_rule_on_gradients_says_all_that_it_saw() -> None:
    _, given = objectives([1.0, 2.0], lambda t: t[0], lambda t: t[1] - t[0])
    step = HAMU("retain", ratio=0.5).backward(given)
    assert step.side == RETAIN and step.branches is not None and step.stop is None
    assert step.gramian is not None and step.gramian.tolist() == [[[1.0, -1.0], [-1.0, 2.0]]]
    assert GRU().backward(given).side == FORGET


def test_eupmu_at_its_edges() -> None:
    assert EUPMU.compat() == EUPMUCompat()
    assert EUPMU(estimator="probe").needs_probe is True and EUPMU().needs_probe is False
    assert EUPMU().update(1.0, 1.1, 0.1) == pytest.approx(3 * 0.1 / 1e-3), "without a start it is 0"
    gram = torch.zeros(2, 2, 2, dtype=torch.float64)
    gram[:, RETAIN, RETAIN] = torch.tensor([2.0, 4.0])
    assert UnilateralSurgery(-1.0).weights(gram).tolist() == [[1.0, 0.25], [1.0, 0.125]], "shared in equal parts"
    for share, altered in ((1.1e-12, True), (0.9e-12, False)):
        opposed = torch.tensor([[[1.0, -(share**0.5)], [-(share**0.5), share]]], dtype=torch.float64)
        assert (UnilateralSurgery().weights(opposed)[0, RETAIN] > 0) == altered


def test_the_shipped_eupmu_at_its_edges() -> None:
    assert EUPMUCompat().needs_forget_loss is False and EUPMUCompat(log="both").needs_forget_loss is True
    both = EUPMUCompat(log="both", floor=0.5, initial=2.0)
    losses = torch.tensor([1.5, 0.5], dtype=torch.float64)
    assert both.weights(losses).tolist() == [0.5, 2.0]
    _, given = objectives([1.0, 2.0], lambda t: t[0] + 4.0, lambda t: 2 * t[1] + 7.0)
    for estimator, steps in (("same_batch", 1), ("next_batch", 0)):
        rule = EUPMUCompat(estimator=estimator)  # type: ignore[arg-type]
        rule.observe(given)
        assert rule.steps == 0, "nothing was seen before"
        rule.weights(losses)
        rule.observe(given)
        assert rule.steps == steps


def test_what_ofmu_is_by_default() -> None:
    written = {"similarity_weight": 0.1, "inner_steps": 2, "inner_lr": None, "penalty": 0.01, "penalty_growth": 1.1}
    written |= {"penalty_max": 1.0, "one_sided": True, "smoothing": 0.0, "strict": False}
    assert {name: getattr(OFMU(), name) for name in written} == written


def test_a_term_that_is_not_finite_leaves_the_gradient_as_it_is() -> None:
    gradient = [torch.tensor([3.0, 4.0])]
    (found,) = _guarded(gradient, 0.5, [torch.tensor([torch.inf, 1.0])], strict=False)
    assert found.tolist() == [3.0, 4.0]
    (bounded,) = _guarded(gradient, 2.0, [torch.tensor([300.0, 400.0])], strict=False)
    assert bounded.tolist() == pytest.approx([6.0, 8.0])
    (free,) = _guarded(gradient, 2.0, [torch.tensor([300.0, 400.0])], strict=True)
    assert free.tolist() == pytest.approx([603.0, 804.0])
