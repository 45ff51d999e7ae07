"""An extra look sees the same randomness and leaves no trace."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.objectives._problems import (
    RAGGED,
    SIDES,
    assert_close,
    batch,
    network,
    nll,
    pair,
)
from unweave.data.pairs import Pair
from unweave.objectives import FORGET, RETAIN, Objectives


def test_a_second_look_sees_the_same_dropout_masks() -> None:
    model = network(nn.Dropout(0.5)).train()
    objectives = Objectives(model, SIDES).at(RAGGED[2])
    state = torch.random.get_rng_state()
    first = objectives.losses()
    assert first.equal(objectives.losses())
    assert_close([objectives.gradients()[0], objectives.backward(torch.ones(2))[0]], [first, first])
    assert torch.random.get_rng_state().equal(state)
    assert not first.equal(objectives.at(pair((4, 3), (1, 10), seed=4)).losses())
    assert first.equal(objectives.at(RAGGED[2]).losses())


def test_sides_and_micro_batches_have_masks_of_their_own() -> None:
    x = torch.ones(4, 5, dtype=torch.float64)
    same = (x, torch.zeros(4, dtype=torch.long))
    model = network(nn.Dropout(0.5)).train()
    seen: list[Tensor] = []
    model[1].register_forward_hook(lambda module, args, output: seen.append(output))
    Objectives(model, (nll, nll)).at(Pair([same, same], [same, same])).losses()
    assert len(seen) == 4
    assert all(not a.equal(b) for i, a in enumerate(seen) for b in seen[:i])


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(6), nn.BatchNorm1d(6, momentum=None)])
def test_batchnorm_statistics_move_once_per_pair_and_side(norm: nn.Module) -> None:
    model = network(norm).train()
    twin = copy.deepcopy(model)
    objectives = Objectives(model, SIDES)
    count = 0
    for seen in (RAGGED[1], pair((4, 3), (6, 2, 3))):
        objectives.at(seen)
        for _ in range(2):  # extra looks, with and without a graph
            objectives.losses()
            objectives.gradients()
            objectives.backward(torch.ones(2))
            objectives.hvp(RETAIN, [torch.ones_like(p) for p in objectives.parameters])
            objectives.contract(FORGET, [torch.ones_like(p) for p in objectives.parameters])
        for b in (*seen.forget, *seen.retain):  # what training would do
            twin(b[0])
        for key, value in twin.state_dict().items():
            torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-12, atol=1e-12)
            count += 1
    assert count == 18
    assert int(model[1].num_batches_tracked) == 7
    assert model[1].track_running_stats


@pytest.mark.parametrize("training", [True, False])
def test_instancenorm_keeps_its_statistics_and_its_mode(training: bool) -> None:
    """With running statistics it normalises with them in eval mode, and must go on doing so on an extra look."""

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.InstanceNorm1d(1, track_running_stats=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x[:, None])[:, 0]

    model = network(Rows()).train(training)
    model[1].norm.running_var.fill_(4.0)
    before = copy.deepcopy(model.state_dict())
    objectives = Objectives(model, SIDES).at(pair())
    looked = objectives.losses()
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert_close([looked], [objectives.gradients()[0]])
    assert training != all(value.equal(before[key]) for key, value in model.state_dict().items())


def test_a_discarded_pair_leaves_no_statistics() -> None:
    model = network(nn.BatchNorm1d(6)).train()
    before = copy.deepcopy(model.state_dict())
    x, y = batch(4, 0)
    x[1] = torch.nan
    objectives = Objectives(model, SIDES).at(Pair([(x, y)], [batch(4, 1)]))
    assert objectives.backward(torch.ones(2))[0].isnan().tolist() == [True, False]
    assert model[1].running_mean.isnan().all()
    objectives.discard()
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


class Running(nn.Module):
    """Divides by a running quantile, which each pass moves in either mode: what a look is given changes its answer."""

    quantile: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("quantile", torch.ones(6, dtype=torch.float64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.quantile = self.quantile.lerp(x.abs().quantile(0.8, 0), 0.3)  # another tensor each time
        return x / self.quantile


STATEFUL: dict[str, Callable[[], nn.Module]] = {
    "spectral_norm": lambda: nn.utils.spectral_norm(nn.Linear(6, 6)),
    "parametrised spectral_norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6)),
    "quantile": Running,
}


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("training", [True, False])
def test_every_look_at_a_pair_begins_with_the_buffers_of_the_first(name: str, training: bool) -> None:
    model = network(STATEFUL[name]()).train(training)
    objectives = Objectives(model, SIDES).at(RAGGED[3])
    begun = [b.clone() for b in model.buffers()]
    first = objectives.losses()
    assert_close(list(model.buffers()), begun, 0.0)
    gradients = objectives.gradients()[1]
    after = [b.clone() for b in model.buffers()]
    assert (not training and name != "quantile") == all(a.equal(b) for a, b in zip(after, begun, strict=True))
    ones = [torch.ones_like(p) for p in objectives.parameters]
    for _ in range(2):
        looked = objectives.losses()
        assert looked[0].equal(first[0]), "the forget side came first"
        assert_close(objectives.gradients()[1][0], gradients[0], 0.0)
        assert_close(objectives.gradients()[1][1], gradients[1], 0.0)
        objectives.backward(torch.ones(2))
        objectives.backward(lambda losses: losses)
        objectives.hvp(RETAIN, ones)
        objectives.contract(FORGET, ones)
        assert_close(list(model.buffers()), after, 0.0)
    objectives.discard()
    assert_close(list(model.buffers()), begun, 0.0)


def test_checkpointed_layers_move_no_statistics_in_the_backward_pass_of_an_extra_look() -> None:
    """They run forward once more while the gradient is taken."""

    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(6)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.norm, x, use_reentrant=False)

    model = network(Again()).train()
    objectives = Objectives(model, SIDES).at(pair((4, 3), (6, 5)))
    objectives.gradients()
    before = copy.deepcopy(model.state_dict())
    objectives.gradients()
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
