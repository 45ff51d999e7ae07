"""One gradient whatever the micro-batches, and no pass that is not needed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.objectives._problems import (
    RAGGED,
    RULES,
    SIDES,
    WEIGHTS,
    WHOLE_FORGET,
    WHOLE_RETAIN,
    Counting,
    assert_close,
    batch,
    descend,
    joint,
    network,
    nll,
    pair,
)
from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError
from unweave.losses import Ascent
from unweave.objectives import FORGET, RETAIN, Objectives


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("micro", [2, 3])
def test_ragged_micro_batches_are_one_batch(name: str, micro: int) -> None:
    tolerance = {"ofmu_finite": 1e-6, "ofmu_forget_only": 1e-6}.get(name, 1e-12)  # differences amplify rounding
    one, several = (descend(network(), RULES[name](), RAGGED[n]) for n in (1, micro))
    assert_close(several, one, tolerance)
    assert not one[-1].equal(network()[-1].bias)


def test_backward_is_the_gradient_of_the_weighted_sum() -> None:
    model = network()
    count = 0
    for micro in RAGGED.values():
        for weights in (WEIGHTS, lambda losses: WEIGHTS):
            for needs_forget in (True, False):
                objectives = Objectives(model, SIDES).at(micro)
                losses, used = objectives.backward(weights, needs_forget)
                assert_close(objectives.direction(), joint(model, 0.3, 2.0))
                assert_close(
                    [losses], [torch.stack([SIDES[0](model, WHOLE_FORGET).mean(), nll(model, WHOLE_RETAIN).mean()])]
                )
                assert used.tolist() == [0.3, 2.0]
                count += 1
    assert count == 12


def test_backward_starts_from_an_empty_grad() -> None:
    objectives = Objectives(network(), SIDES).at(pair())
    for p in objectives.parameters:
        p.grad = torch.full_like(p, 9.0)
    objectives.backward(torch.tensor([1.0, 1.0]))
    assert_close(objectives.direction(), joint(objectives.model, 1.0, 1.0))


def test_weights_see_the_losses_and_cost_no_forward_of_their_own() -> None:
    model = Counting(network())
    objectives = Objectives(model, SIDES).at(pair())
    given: list[Tensor] = []

    def weights(losses: Tensor) -> Tensor:
        given.append(losses)
        return torch.stack([torch.ones_like(losses[RETAIN]), losses[RETAIN]])

    losses, _ = objectives.backward(weights)
    assert (model.forwards, model.graphs) == (2, 2)
    assert_close(given, [losses])
    assert_close(objectives.direction(), joint(model.inner, 1.0, float(losses[RETAIN])))
    objectives.at(RAGGED[3]).backward(weights, needs_forget=False)
    assert (model.forwards, model.graphs) == (8, 8)
    assert given[1][FORGET].isnan()
    objectives.at(RAGGED[3]).backward(weights)  # here three looks at the forget loss come before
    assert (model.forwards, model.graphs) == (17, 14)


@pytest.mark.parametrize(("name", "forwards"), [("pcgrad", 2), ("fixed", 2), ("eupmu_next", 2), ("eupmu", 3)])
def test_forwards_of_a_step(name: str, forwards: int) -> None:
    """next_batch needs no look back; same_batch looks at the retain side once more."""
    model = Counting(network())
    descend(model, RULES[name](), pair(), steps=3)
    assert model.forwards == 3 * forwards


def test_a_side_without_a_loss_is_the_constant_zero() -> None:
    count = 0
    for side in (FORGET, RETAIN):
        sides = tuple(None if s == side else loss for s, loss in enumerate(SIDES))
        objectives = Objectives(network(), sides).at(RAGGED[2])
        losses, gradients = objectives.gradients()
        assert losses[side] == 0 == objectives.losses()[side] and losses[1 - side] != 0
        assert all(not g.any() for g in gradients[side]) and any(g.any() for g in gradients[1 - side])
        for weights in (torch.ones(2), lambda losses: torch.ones(2)):
            objectives.backward(weights)
            assert_close(objectives.direction(), gradients[1 - side])
            count += 1
    assert count == 4


def test_a_side_of_weight_zero_is_looked_at_without_a_graph() -> None:
    model = Counting(network())
    losses, _ = Objectives(model, SIDES).at(pair()).backward(torch.tensor([0.0, 1.0]))
    assert (model.forwards, model.graphs) == (2, 1)
    assert losses.isfinite().all()


@pytest.mark.parametrize("wrong", [lambda m, b: nll(m, b).mean(), lambda m, b: nll(m, b)[:, None]])
def test_a_loss_that_is_not_per_example_is_refused(wrong: Callable[..., Tensor]) -> None:
    with pytest.raises(ConfigurationError, match=r"one value per example, \[b\]; the retain loss returned"):
        Objectives(network(), (Ascent(nll), wrong)).at(pair()).losses()


def test_a_loss_with_too_few_values_is_refused_where_it_would_be_weighted_wrongly() -> None:
    objectives = Objectives(network(), (None, lambda m, b: nll(m, b)[:1])).at(RAGGED[3])
    with pytest.raises(ConfigurationError, match="6 examples gave 1"):
        objectives.gradients()


def test_what_cannot_be_unlearned_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="all are frozen"):
        Objectives(network().requires_grad_(False), SIDES)
    with pytest.raises(ConfigurationError, match="Neither a forget nor a retain loss"):
        Objectives(network(), (None, None))
    with pytest.raises(ConfigurationError, match="no retain micro-batch"):
        Objectives(network(), SIDES).at(Pair([batch(2, 0)], [])).losses()


def test_the_probe_is_the_retain_loss_on_examples_of_its_own() -> None:
    model = network()
    objectives = Objectives(model, SIDES, probe=[batch(4, 8), batch(3, 9)]).at(pair())
    expected = torch.cat([nll(model, batch(4, 8)), nll(model, batch(3, 9))]).mean()
    assert objectives.probe_loss() == pytest.approx(float(expected.detach()), rel=1e-12)
    with pytest.raises(ConfigurationError, match="probe="):
        Objectives(model, SIDES).probe_loss()


def test_move_and_restore() -> None:
    objectives = Objectives(network(), SIDES)
    before = objectives.snapshot()
    direction = [torch.randn_like(p) for p in before]
    objectives.move(direction, -0.1)
    assert_close(objectives.parameters, [p - 0.1 * d for p, d in zip(before, direction, strict=True)])
    objectives.restore(before)
    assert all(a.equal(b) for a, b in zip(objectives.parameters, before, strict=True))
