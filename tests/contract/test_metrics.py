"""Values per example, and one forward pass for all of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unweave.contract.metrics import SCORE, Once, key, values
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.tasks import Vision


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls = nn.Linear(3, 4), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(x)


class Sequences:
    """A task without logits."""

    def nll(self, model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch).square().mean(1)

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Tensor) -> Tensor:
        raise NotImplementedError


def test_every_metric_of_a_batch_costs_one_forward() -> None:
    model, batch = Counting(), (torch.randn(6, 3), torch.tensor([0, 1, 2, 3, 0, 1]))
    once, task = Once(model), Vision()
    logits = model.linear(batch[0])
    right = (logits.argmax(1) == batch[1]).double()
    loss = nn.functional.cross_entropy(logits, batch[1], reduction="none")
    assert values("accuracy", task, once, batch).equal(right)
    for name in ("loss", "perplexity"):
        torch.testing.assert_close(values(name, task, once, batch), loss.detach().double())
    score = values(SCORE, task, once, batch)
    torch.testing.assert_close(nn.functional.softplus(-score), loss.detach().double(), rtol=1e-5, atol=1e-6)
    assert values(lambda m, b: m(b[0])[:, 0], task, once, batch).dtype == torch.float64
    assert model.calls == 1
    once(batch[0].clone())
    assert model.calls == 2 and once.linear is model.linear


def test_the_score_tells_apart_what_the_loss_no_longer_does() -> None:
    scale = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        scale.weight.copy_(torch.tensor([[0.0], [1.0]]))
    batch = torch.tensor([[100.0], [200.0]]), torch.tensor([1, 1])
    assert values("loss", Vision(), scale, batch).tolist() == [0.0, 0.0]
    low, high = values(SCORE, Vision(), scale, batch).tolist()
    assert low < high


def test_nan_is_not_an_answer() -> None:
    model = nn.Linear(1, 2)
    batch = torch.tensor([[torch.nan], [1.0]]), torch.tensor([0, 0])
    assert values("accuracy", Vision(), model, batch).isnan().tolist() == [True, False]


def test_without_logits() -> None:
    model, batch = nn.Linear(3, 2), torch.randn(4, 3)
    assert values(SCORE, Sequences(), model, batch).equal(-values("loss", Sequences(), model, batch))
    with pytest.raises(UnsupportedError, match="needs a task with logits"):
        values("accuracy", Sequences(), model, batch)


def test_a_reduced_metric_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"one value per example, \[b\]; <lambda> 0 returned \(\)"):
        values(lambda m, b: m(b).mean(), Sequences(), nn.Linear(3, 2), torch.randn(4, 3))


def test_keys() -> None:
    assert key("perplexity") == key("loss") == "loss" and key("accuracy") == "accuracy"
    assert key(lambda m, b: b, 0) != key(lambda m, b: b, 1)


class Named(Counting):
    def forward(self, x: Tensor, y: Tensor | None = None, **named: Tensor) -> Tensor:
        return super().forward(x)


def test_only_the_very_same_call_is_answered_from_memory() -> None:
    x, y, z = torch.ones(1, 3), torch.zeros(1, 3), torch.ones(1, 3)
    different = [((x,), {}), ((y,), {}), ((x, y), {}), ((x, z), {}), ((y, z), {}), ((x,), {"a": y})]
    different += [((x,), {"b": y}), ((x,), {"b": z}), ((x,), {"b": z, "a": y}), ((x,), {"b": x, "a": y}), ((x,), {})]
    different += [((x, y), {}), ((x,), {})]  # one begins like the other
    model = Named()
    once = Once(model)
    for calls, (inputs, named) in enumerate(different, 1):
        for _ in range(2):
            once(*inputs, **named)
            assert model.calls == calls
    with pytest.raises(AttributeError, match="nowhere"):
        _ = once.nowhere


def test_a_metric_that_returns_no_tensor_is_told_what_it_returned() -> None:
    for wrong, said in (([1.0, 2.0], "list"), (3.0, "float"), (torch.zeros(2, 1), r"\(2, 1\)")):
        with pytest.raises(ConfigurationError, match=f"one value per example.*returned {said}"):
            values(lambda m, b, wrong=wrong: wrong, Vision(), nn.Linear(1, 1), None)  # type: ignore[misc]
