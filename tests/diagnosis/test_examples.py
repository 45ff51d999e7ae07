from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from unweave.diagnosis import along, log_odds, sampled
from unweave.errors import ConfigurationError
from unweave.modalities.images.tensors import TensorImages
from unweave.objectives import Loss, Objectives
from unweave.tasks import Vision

CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Tanh(), nn.Linear(16, 4)).double()


def data(n: int, seed: int) -> TensorDataset:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=rng, dtype=torch.float64)
    return TensorDataset(x, (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long())


def per_sample(model: nn.Module, loss: Loss, examples: TensorDataset) -> Tensor:
    """`[n, parameters]`, by a loop."""
    rows = []
    for x, y in examples:
        value = loss(model, (x[None], y[None])).sum()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))]))
    return torch.stack(rows)


class Nll:
    """A task without logits."""

    nll, divergence = Vision().nll, Vision().divergence


LOSSES = {"nll": Vision().nll, "log-odds": log_odds(Vision()), "log-odds from nll": log_odds(Nll())}


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_are_the_inner_products_of_exact_per_sample_gradients(name: str) -> None:
    """<grad l_i, g_r> / |g_r| and v' H_i v / |v|^2, in float64."""
    loss, model, forget, retain = LOSSES[name], network().eval(), data(40, 1), data(90, 2)
    rows, g_r = per_sample(model, loss, forget), per_sample(model, loss, retain).mean(0)
    objectives = Objectives(model, (loss, loss))
    parameters = list(model.parameters())
    split = [g.reshape(p.shape) for g, p in zip(g_r.split([p.numel() for p in parameters]), parameters, strict=True)]
    found = along(objectives, loss, sampled(forget, None, 16, 0, CPU), split, step=1e-5)
    torch.testing.assert_close(found.slope, rows @ g_r / g_r.norm(), rtol=1e-6, atol=1e-8)
    assert float(found.slope.mean()) == pytest.approx(float(rows.mean(0) @ g_r / g_r.norm()), rel=1e-6)
    first = torch.autograd.grad(loss(model, forget.tensors).mean(), parameters, create_graph=True)
    inner = torch.stack([(g * v).sum() for g, v in zip(first, split, strict=True)]).sum()
    second = torch.cat([g.flatten() for g in torch.autograd.grad(inner, parameters, materialize_grads=True)])
    curved = along(objectives, loss, sampled(forget, None, 16, 0, CPU), split).curvature.mean()
    assert float(curved) == pytest.approx(float(second @ g_r / g_r.square().sum()), rel=1e-3)
    torch.testing.assert_close(found.value, loss(model, forget.tensors).detach(), rtol=1e-9, atol=1e-9)


def test_float32_is_near_enough() -> None:
    exact, single = network().eval(), network().float().eval()
    loss, forget = log_odds(Vision()), data(60, 1)
    direction = [torch.ones_like(p) for p in exact.parameters()]
    rows = per_sample(exact, loss, forget) @ torch.cat([d.flatten() for d in direction])
    rows /= sum(d.numel() for d in direction) ** 0.5
    floats = TensorDataset(forget.tensors[0].float(), forget.tensors[1])
    objectives = Objectives(single, (loss, loss))
    found = along(objectives, loss, sampled(floats, None, 16, 0, CPU), [d.float() for d in direction])
    assert float((found.slope - rows).abs().max()) < 0.01 * float(rows.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_nothing_is_changed_to_the_bit(dtype: torch.dtype) -> None:
    model, loss = network().to(dtype).train(), Vision().nll
    model[1].eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    direction = [torch.randn_like(p) for p in model.parameters()]
    modes, rng = [m.training for m in model.modules()], torch.get_rng_state()
    examples = TensorDataset(data(30, 1).tensors[0].to(dtype), data(30, 1).tensors[1])
    found = along(Objectives(model, (loss, loss)), loss, sampled(examples, None, 7, 0, CPU), direction)
    assert torch.get_rng_state().equal(rng)
    assert found.slope.shape == (30,) and bool(found.slope.isfinite().all()) and found.reach >= 1e-3
    assert all(v.equal(state[k]) for k, v in model.state_dict().items()) and len(state) == 9
    assert [m.training for m in model.modules()] == modes


def test_weights_come_back_also_when_a_look_fails() -> None:
    model, calls = network(), []

    def loss(m: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return Vision().nll(m, batch)

    before = [p.clone() for p in model.parameters()]
    with pytest.raises(RuntimeError, match="out of memory"):
        along(Objectives(model, (loss, loss)), loss, sampled(data(20, 1), None, 10, 0, CPU), before)
    assert all(p.equal(b) for p, b in zip(model.parameters(), before, strict=True)) and model.training


def test_bad_directions_and_losses_are_named() -> None:
    model, loss = network(), Vision().nll
    objectives, sample = Objectives(model, (loss, loss)), sampled(data(20, 1), None, 10, 0, CPU)
    for factor in (0.0, float("nan")):
        with pytest.raises(ConfigurationError, match="length above 0"):
            along(objectives, loss, sample, [p.detach() * factor for p in model.parameters()])
    with pytest.raises(ConfigurationError, match="one value per example"):
        along(objectives, lambda m, b: loss(m, b).mean(), sample, objectives.snapshot())


def test_log_odds_do_not_saturate() -> None:
    """s = log((1 - p) / p) where p is 1 in float32; and the two ways to it agree where both can."""
    logits = torch.tensor([[0.0, 30.0, -5.0], [2.0, 1.0, 0.0], [0.0, 0.1, 9.0]])
    batch = (logits, torch.tensor([1, 0, 0]))
    model = nn.Identity()
    e = logits.double().exp()
    exact = torch.stack([(e[0, 0] + e[0, 2]).log() - 30, (e[1, 1] + e[1, 2]).log() - 2, (e[2, 1] + e[2, 2]).log()])
    torch.testing.assert_close(log_odds(Vision())(model, batch).double(), exact, rtol=1e-5, atol=1e-5)
    from_nll = log_odds(Nll())(model, batch).double()
    torch.testing.assert_close(from_nll[1:], exact[1:], rtol=1e-5, atol=1e-5)
    assert float(from_nll[0]) == pytest.approx(-13.8, abs=0.1)


def test_a_sample_is_the_same_at_every_look() -> None:
    class Noisy(Dataset[tuple[Tensor, Tensor]]):
        def __len__(self) -> int:
            return 25

        def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
            return torch.randn(3) + i, torch.tensor(i)

    images = TensorImages(torch.rand(25, 1, 4, 4), torch.arange(25))
    kinds = (Noisy(), images, TensorDataset(torch.rand(25, 3), torch.arange(25)))
    for each in kinds:
        sample = sampled(each, 10, 4, 3, CPU)
        assert (len(sample), sample.examples) == (3, 10) and sample.labels() == sample.rows.tolist()
        assert all(a[0].equal(b[0]) for a, b in zip(sample, sample, strict=True))
        assert sampled(each, None, 4, 3, CPU).rows.tolist() == list(range(25))
        assert len(sample[0:2]) == 2 and sample[-1][1].equal(sample[2][1])
    loader = DataLoader(kinds[2], batch_size=8, shuffle=True)
    sample = sampled(loader, 10, 4, 0, CPU)
    assert sample.examples == 16 and sample[1][1].equal(sample[1][1]) and sample.rows.tolist() == list(range(16))
    assert sampled(TensorDataset(torch.rand(5, 2)), None, 4, 0, CPU).labels() is None
    with pytest.raises(ConfigurationError, match="at least one"):
        sampled(TensorDataset(torch.rand(0, 2)), None, 4, 0, CPU)
    with pytest.raises(ConfigurationError, match="DataLoader"):
        sampled(iter(()), None, 4, 0, CPU)  # type: ignore[arg-type]
