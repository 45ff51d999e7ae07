from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError
from unweave.objectives import Objectives
from unweave.oneshot import Once, OneShot, ssd
from unweave.rules import Fixed
from unweave.tasks import Vision


class Dot(nn.Module):
    """`theta . x` with theta = (1, 2, 3, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.theta


class Linear:
    """A task whose nll is the model's output: its gradient is the input."""

    def nll(self, model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch)

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Tensor) -> Tensor:
        raise NotImplementedError


def test_dampens_by_the_paper() -> None:
    """Batches of mean gradient (4,1,2,0) and (0,1,2,0): I_f = (8,1,4,0). I_r = (.5,.25,.4,9).

    alpha = 9: alpha I_r = (4.5, 2.25, 3.6, 81) selects the first and the third.
    lambda = 4: they are multiplied by min(4 I_r / I_f, 1) = .25 and .4.
    """
    model = Dot()
    even, uneven = [[4.0, 1.0, 2.0, 0.0]] * 2, [[-1.0, 2.0, 2.0, 0.0], [1.0, 0.0, 2.0, 0.0]]
    forget = [torch.tensor(even), torch.tensor(uneven)]
    retain = [torch.tensor([[0.5, 0.25, 0.4, 9.0]]).sqrt()]
    changed = ssd(model, Linear(), forget, retain, selection=9.0, dampening=4.0)
    torch.testing.assert_close(model.theta.data, torch.tensor([0.25, 2.0, 1.2, 4.0]))
    assert changed.changed == {"theta": 2}
    assert (changed.total, changed.share) == (4, 0.5)


def test_batches_count_by_their_size() -> None:
    """Gradients 2 (three examples) and 0 (one): I_f = (3 * 4 + 0) / 4 = 3; I_r = 1, lambda = 1.5: halved."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(8.0)
    forget = [torch.full((3, 1), 2.0), torch.zeros(1, 1)]
    ssd(model, SumTask(), forget, [torch.ones(2, 1)], selection=2.0, dampening=1.5)
    assert model.weight.item() == 4.0


class SumTask(Linear):
    def nll(self, model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch)[:, 0]


def test_a_classifier_forgets_a_class_and_keeps_the_rest() -> None:
    torch.manual_seed(0)
    labels = torch.arange(300) % 3
    x = 3 * torch.eye(3)[labels] + 0.3 * torch.randn(300, 3)
    model = nn.Sequential(nn.Linear(3, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        Vision().nll(model, (x, labels)).mean().backward()
        optimizer.step()
    forget, retain = (TensorDataset(x[m], labels[m]) for m in (labels == 0, labels != 0))
    model.train()[0].bias.requires_grad_(False)
    bias, statistics = model[0].bias.clone(), model[1].running_mean.clone()
    found = ssd(model, Vision(), forget, retain, selection=3.0)
    assert model.training and model[0].bias.equal(bias) and model[1].running_mean.equal(statistics)
    right = (model.eval()(x).argmax(-1) == labels).float()
    assert 0 < found.share < 0.5
    assert right[labels == 0].mean() < 0.5
    assert right[labels != 0].mean() > 0.9


def test_faults_come_together() -> None:
    with pytest.raises(ConfigurationError) as error:
        ssd(Dot().requires_grad_(False), Linear(), [], [], selection=0.0, dampening=-1.0, batch=0)
    assert len(error.value.faults) == 4
    with pytest.raises(ConfigurationError, match="no batch"):
        ssd(Dot(), Linear(), [], [torch.ones(1, 4)])


def test_what_ends_or_breaks_the_change_leaves_the_weights_as_they_were() -> None:
    model, batch = Dot(), [torch.ones(2, 4)]
    before = model.theta.detach().clone()
    objectives = Objectives(model, (Linear().nll, Linear().nll)).at(Pair(batch, batch))

    def spoil(found: nn.Module) -> None:
        model.theta.data[0] = torch.inf

    def fail(found: nn.Module) -> None:
        model.theta.data[0] = 7.0
        raise KeyboardInterrupt

    record = Once(spoil).take(1, Fixed(), objectives)
    assert not record.accepted and record.step.stop == record.note == "non-finite loss or weight"
    assert model.theta.equal(before)
    with pytest.raises(KeyboardInterrupt):
        Once(fail).take(1, Fixed(), objectives)
    assert model.theta.equal(before)


def test_its_own_draws_leave_no_trace() -> None:
    """A DataLoader draws a seed from the global state whenever it is read."""
    rows = TensorDataset(torch.randn(8, 4), torch.arange(8) % 2)
    model, state = nn.Linear(4, 2), torch.get_rng_state()
    objectives = Objectives(model, (Vision().nll, Vision().nll)).at(Pair([rows[:4]], [rows[4:]]))
    record = OneShot("ssd", {"selection": 1.0}).step(Vision(), rows, rows).take(1, Fixed(), objectives)
    assert torch.get_rng_state().equal(state) and record.accepted and record.realised is not None


def test_an_unknown_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'ssd'"):
        OneShot("sssd")


@pytest.mark.parametrize("side", ["forget", "retain"])
def test_one_nan_in_the_stream_is_named(side: str) -> None:
    """The loss may be finite where its gradient is not: a root at 0 is another such row."""
    batches = {name: [torch.ones(2, 4) for _ in range(4)] for name in ("forget", "retain")}
    batches[side][2][1, 0] = torch.nan
    model, before = Dot(), Dot().theta.detach()
    with pytest.raises(ConfigurationError, match=f"{side}: the gradient of batch 3 of 4 is not finite"):
        ssd(model, Linear(), *batches.values(), selection=1.0)
    assert model.theta.equal(before)


def test_a_complex_weight_is_dampened_by_its_parts() -> None:
    """Output `Re(theta conj(x))`: the gradient is x. Of (2 + i) the real part alone matters more to the forget set."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.tensor([4 + 8j]))

        def forward(self, x: Tensor) -> Tensor:
            return (x.conj() * self.theta).real[:, 0]

    model = Turned()
    changed = ssd(model, Linear(), [torch.tensor([[2 + 1j]])], [torch.tensor([[1 + 1j]])], selection=2.0, dampening=1.0)
    assert model.theta.tolist() == [1 + 8j]
    assert changed.changed == {"theta": 1} and changed.total == 2


def test_weights_in_one_memory_are_dampened_once() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    model[0].weight.data.fill_(2.0)
    model[1].weight = nn.Parameter(model[0].weight.data)
    ssd(model, SumTask(), [torch.full((2, 1), 2.0)], [torch.ones(2, 1)], selection=2.0, dampening=2.0)
    assert model[0].weight.item() == model[1].weight.item() == 1.0
