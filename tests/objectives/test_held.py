"""What each answer rests on: which side, which micro-batch, which buffers, and whether it is given at all."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.objectives._problems import (
    RAGGED,
    SIDES,
    WEIGHTS,
    Counting,
    assert_close,
    batch,
    joint,
    network,
    nll,
    pair,
)
from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.gramian import Gradient
from unweave.objectives import FORGET, RETAIN, Objectives

WAYS: dict[str, Callable[[Objectives], object]] = {
    "known": lambda objectives: objectives.backward(WEIGHTS),
    "asked": lambda objectives: objectives.backward(lambda losses: WEIGHTS),
    "asked, without forget": lambda objectives: objectives.backward(lambda losses: WEIGHTS, needs_forget=False),
}


@pytest.mark.parametrize(
    "losses", [{*SIDES}, (*SIDES, nll), (nll,), nll, 5, (nll, 5), (5, None), (nll, lambda batch: batch)]
)
def test_losses_are_two_functions_of_model_and_batch(losses: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"losses must be two functions \(model, batch\) -> \[b\]"):
        Objectives(network(), losses)


def test_a_list_of_two_losses_will_do() -> None:
    one, other = (Objectives(network(), losses).at(pair()) for losses in (SIDES, list(SIDES)))
    assert one.losses().equal(other.losses())


@pytest.mark.parametrize("value", [None, [1, 2], (), torch.zeros(())])
def test_a_loss_that_gives_no_vector_is_refused(value: Any) -> None:
    found = r"\(\)" if isinstance(value, Tensor) else type(value).__name__
    objectives = Objectives(network(), (None, lambda model, batch: value)).at(pair())
    with pytest.raises(ConfigurationError, match=f"the retain loss returned {found}"):
        objectives.loss(RETAIN)


def test_before_the_first_pair_there_is_no_micro_batch() -> None:
    with pytest.raises(ConfigurationError, match="holds no forget micro-batch"):
        Objectives(network(), SIDES).losses()


def test_a_loss_on_another_pair_leaves_the_present_one() -> None:
    present = pair((4, 3), (6, 2, 3))
    objectives = Objectives(network(nn.BatchNorm1d(6)).train(), SIDES).at(present)
    losses = objectives.gradients()[0]
    state = copy.deepcopy(objectives.model.state_dict())
    other = Pair([batch(3, 21), batch(5, 22)], [batch(4, 23)], 9)
    for side in (FORGET, RETAIN):
        values = torch.cat([SIDES[side](objectives.model, b) for b in (other.forget, other.retain)[side]])
        objectives.model.load_state_dict(state)
        assert objectives.loss_at(side, other) == pytest.approx(float(values.detach().mean()), rel=1e-12)
    assert objectives.pair is present
    assert objectives.losses()[FORGET].equal(losses[FORGET])
    objectives.gradients()  # not the first look at this pair: nothing moves
    assert all(value.equal(state[key]) for key, value in objectives.model.state_dict().items())


class Running(nn.Module):
    """Divides by a running mean of the sizes, which each pass moves in either mode."""

    size: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("size", torch.ones(6, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.size.lerp_(x.abs().mean(0), 0.3)
        return x / self.size


def test_the_probe_begins_with_the_buffers_of_the_retain_side() -> None:
    objectives = Objectives(network(Running()), SIDES, probe=RAGGED[2].retain).at(RAGGED[2])
    alone = objectives.probe_loss()
    losses = objectives.gradients()[0]
    assert objectives.probe_loss() == float(losses[RETAIN]) != alone


@pytest.mark.parametrize("micro", RAGGED)
@pytest.mark.parametrize("way", WAYS)
def test_buffers_move_in_the_first_backward_and_in_no_other(way: str, micro: int) -> None:
    model, seen = network(Running()), RAGGED[micro]
    twin = copy.deepcopy(model)
    objectives = Objectives(model, SIDES).at(seen)
    for b in (*seen.forget, *seen.retain) if way == "known" else (*seen.retain, *seen.forget):
        twin(b[0])
    for _ in range(2):
        WAYS[way](objectives)
        assert_close(list(model.buffers()), list(twin.buffers()))


@pytest.mark.parametrize("way", WAYS)
def test_backward_sees_the_masks_of_every_other_look(way: str) -> None:
    objectives = Objectives(network(nn.Dropout(0.5)).train(), SIDES).at(pair())
    losses, (forget, retain) = objectives.gradients()
    looked = objectives.losses()
    WAYS[way](objectives)
    assert looked.equal(losses)
    assert_close(objectives.direction(), [0.3 * f + 2 * r for f, r in zip(forget, retain, strict=True)])


@pytest.mark.parametrize("micro", [1, 3])
@pytest.mark.parametrize("missing", [FORGET, RETAIN])
def test_weights_see_the_loss_of_a_side_without_one_as_zero(missing: int, micro: int) -> None:
    """It is the constant 0: a weight that reads it would be NaN, were it not looked at."""
    forget, retain = (None if side == missing else loss for side, loss in enumerate(SIDES))
    model, given = Counting(network()), list[Tensor]()
    objectives = Objectives(model, (forget, retain)).at(RAGGED[micro])

    def weights(losses: Tensor) -> Tensor:
        given.append(losses)
        return losses + WEIGHTS

    losses, used = objectives.backward(weights)
    # A lone forget micro-batch is looked at once; several are before and again for the gradient.
    assert model.forwards == micro * (2 if missing == RETAIN and micro > 1 else 1)
    assert losses[missing] == 0 == given[0][missing] and losses[1 - missing].equal(objectives.losses()[1 - missing])
    assert_close([used], [losses + WEIGHTS])
    scale = float(used[1 - missing])
    expected = joint(model.inner, scale if missing == RETAIN else 0.0, scale if missing == FORGET else 0.0)
    assert_close(objectives.direction(), expected)


def test_a_lone_forget_batch_that_no_weight_needs_is_not_looked_at_beforehand() -> None:
    model, given = Counting(network()), list[Tensor]()
    objectives = Objectives(model, SIDES).at(pair())
    losses, _ = objectives.backward(lambda seen: given.append(seen) or torch.tensor([0.0, 1.0]), needs_forget=False)
    assert given[0].isnan().tolist() == [True, False] and losses.isfinite().all()
    assert (model.forwards, model.graphs) == (2, 1)  # of weight 0


@pytest.mark.parametrize("way", WAYS)
def test_the_side_whose_loss_has_no_weight_in_it_is_named(way: str) -> None:
    cut: list[Callable[..., Tensor]] = [nll, nll]
    for side, name in ((FORGET, "forget"), (RETAIN, "retain")):
        cut[:] = [nll, nll]
        cut[side] = lambda model, batch: nll(model, batch).detach()
        with pytest.raises(ConfigurationError, match=f"the {name} loss does not depend on any weight"):
            WAYS[way](Objectives(network(), (cut[FORGET], cut[RETAIN])).at(pair()))


def test_both_gradients_are_heard_once_and_before_they_are_given() -> None:
    objectives, heard = Objectives(network(), SIDES).at(RAGGED[2]), list[tuple[list[Tensor], list[Tensor]]]()

    class Listener:
        def add(self, pair: tuple[Gradient, Gradient]) -> None:
            heard.append(([g.clone() for g in pair[0]], [g.clone() for g in pair[1]]))

    objectives.heard = Listener()  # type: ignore[assignment]
    _, gradients = objectives.gradients()
    assert len(heard) == 1
    for side, weights in ((FORGET, (1.0, 0.0)), (RETAIN, (0.0, 1.0))):
        assert_close(heard[0][side], joint(objectives.model, *weights))
        assert_close(gradients[side], heard[0][side], 0.0)
    objectives.gradient(FORGET)
    assert len(heard) == 1


def test_a_gradient_starts_from_an_empty_grad_and_leaves_it_empty() -> None:
    objectives = Objectives(network(), SIDES).at(pair())
    for side, weights in ((FORGET, (1.0, 0.0)), (RETAIN, (0.0, 1.0))):
        objectives.write([torch.full_like(p, 9.0) for p in objectives.parameters])
        assert_close(objectives.gradient(side)[1], joint(objectives.model, *weights))
        assert all(p.grad is None for p in objectives.parameters)


def test_hvp_at_the_origin_is_finite() -> None:
    """`h` is relative to the length of the parameters, and there is none: H v = a v of `a |x|^2 / 2`."""
    model = nn.Linear(3, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    a = torch.tensor([2.0, 4.0], dtype=torch.float64)
    objectives = Objectives(model, (None, lambda m, b: b * m.weight.square().sum() / 2)).at(Pair([], [a]))
    v = [torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)]
    for known in (None, [torch.zeros_like(v[0])]):
        assert_close(objectives.hvp(RETAIN, v, known), [3 * v[0]])
        assert not model.weight.any()


class Flat(nn.Module):
    """A real and a complex weight, of which the loss is linear."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        self.z = nn.Parameter(torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex128))


def test_a_derivative_that_is_constant_contracts_to_zero() -> None:
    objectives = Objectives(Flat(), (None, lambda m, b: b * m.x.sum() + (b * m.z.sum()).real))
    objectives.at(Pair([], [torch.tensor([2.0, 3.0]).double(), torch.tensor([5.0]).double()]))
    v = [torch.ones_like(p) for p in objectives.parameters]
    for vectors in ([v], [v, v], [v, v, v]):
        found = objectives.contract(RETAIN, *vectors)
        assert_close(found, [torch.zeros_like(p) for p in objectives.parameters], 0.0)


def test_third_derivatives_that_torch_has_wrong_are_refused_and_second_ones_are_not() -> None:
    objectives = Objectives(network(nn.LayerNorm(6)), SIDES).at(RAGGED[2])
    v = [torch.ones_like(p) for p in objectives.parameters]
    assert_close(objectives.contract(RETAIN, v), objectives.hvp(RETAIN, v), 1e-7)
    with pytest.raises(UnsupportedError, match="third derivatives of LayerNorm are wrong"):
        objectives.contract(RETAIN, v, v)


def test_sharded_parameters_have_no_exact_second_derivatives() -> None:
    model = network()
    model[0].weight.to_local = model[0].weight.detach
    v: Gradient = [torch.ones_like(p) for p in model.parameters()]
    with pytest.raises(UnsupportedError, match="do not shard; use curvature='finite'"):
        Objectives(model, SIDES).at(pair()).contract(RETAIN, v)
