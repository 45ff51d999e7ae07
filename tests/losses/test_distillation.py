from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from unweave.errors import ConfigurationError, UnsupportedError
from unweave.losses import Ascent, Divergence, frozen, incompetent
from unweave.tasks import Vision


class Linear(nn.Module):
    """Logits `scale * x`."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


X = torch.tensor([[math.log(3), 0.0]])
BATCH = X, torch.tensor([0])


def test_kl_from_the_reference_to_the_model() -> None:
    """Reference p = (3/4, 1/4), model q = (1/2, 1/2): KL(p || q) = 3/4 log(3/2) + 1/4 log(1/2) = 0.130812."""
    loss = Divergence(Vision(), frozen(Linear(1.0)))
    expected = torch.tensor([0.75 * math.log(1.5) - 0.25 * math.log(2)])
    torch.testing.assert_close(loss(Linear(0.0), BATCH), expected)
    assert Ascent(loss)(Linear(0.0), BATCH).item() == -loss(Linear(0.0), BATCH).item()


def test_temperature() -> None:
    """T = 2: p ~ (sqrt 3, 1), q = (1/2, 1/2), times T^2 = 4."""
    p = math.sqrt(3) / (math.sqrt(3) + 1)
    expected = 4 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    found = Divergence(Vision(), frozen(Linear(1.0)), temperature=2.0)(Linear(0.0), BATCH)
    torch.testing.assert_close(found, torch.tensor([expected]))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_zero_with_zero_gradient_at_the_reference(temperature: float) -> None:
    model = Linear(1.0)
    loss = Divergence(Vision(), frozen(model), temperature)(model, BATCH).sum()
    loss.backward()
    assert loss.item() == 0.0
    assert model.scale.grad is not None
    assert abs(model.scale.grad.item()) < 1e-6


def test_the_reference_gets_no_gradient_and_does_not_follow_the_model() -> None:
    model = Linear(1.0)
    reference = frozen(model)
    assert frozen(reference) is reference
    Divergence(Vision(), reference)(Linear(0.5), BATCH).sum().backward()
    model.scale.data.add_(1.0)
    assert reference.scale.item() == 1.0  # type: ignore[union-attr]
    assert all(p.grad is None and not p.requires_grad for p in reference.parameters())
    assert model.training and model.scale.requires_grad


def test_a_reference_that_could_train_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"frozen.*losses\.frozen"):
        Divergence(Vision(), Linear(1.0))
    with pytest.raises(ConfigurationError, match="temperature must be a number in"):
        Divergence(Vision(), frozen(Linear(1.0)), temperature=0.0)


def test_temperature_needs_logits() -> None:
    class Opaque:
        def nll(self, model: nn.Module, batch: object) -> Tensor:
            return torch.zeros(1)

        def divergence(self, model: nn.Module, reference: nn.Module, batch: object) -> Tensor:
            return torch.zeros(1)

    loss = Divergence(Opaque(), frozen(Linear(1.0)), temperature=2.0)
    with pytest.raises(UnsupportedError, match="Opaque has none"):
        loss(Linear(1.0), BATCH)


class Odd(nn.Module):
    """A parameter of its own beside modules that know how to start anew."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(64) * 5 + 3)
        self.body = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.position.mean()


def test_the_incompetent_teacher_is_new_seeded_and_leaves_no_trace() -> None:
    model, state = Odd(), torch.random.get_rng_state()
    before = [p.clone() for p in model.parameters()]
    first, second, other = incompetent(model, seed=1), incompetent(model, seed=1), incompetent(model, seed=2)
    assert torch.random.get_rng_state().equal(state)
    assert all(p.equal(b) and p.requires_grad for p, b in zip(model.parameters(), before, strict=True))
    assert all(not p.requires_grad for p in first.parameters()) and not first.training
    assert all(a.equal(b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    for name in ("position", "body.0.weight", "body.2.weight"):
        drawn = first.get_parameter(name)
        assert not drawn.equal(model.get_parameter(name)) and not drawn.equal(other.get_parameter(name))
    assert abs(float(first.get_parameter("position").mean()) - 3) < 2
    assert abs(float(first.get_parameter("position").std()) - 5) < 2
