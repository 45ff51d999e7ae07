from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unweave.errors import ConfigurationError, UnsupportedError
from unweave.evaluation import Outputs, predict
from unweave.tasks import Vision


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 4))


def data(n: int = 101) -> TensorDataset:
    rng = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(n, 6, generator=rng), torch.randint(4, (n,), generator=rng))


def test_signals_follow_their_definitions() -> None:
    out = predict(network(), Vision(), data())
    p = out.logits.double().softmax(1)[torch.arange(101), out.labels].numpy()
    np.testing.assert_allclose(out.confidence, p, rtol=1e-6)
    np.testing.assert_allclose(out.nll, -np.log(p), rtol=1e-5)
    np.testing.assert_allclose(out.margin, np.log(p) - np.log1p(-p), rtol=1e-4, atol=1e-6)
    assert (out.correct == (out.logits.argmax(1) == out.labels).numpy()).all()
    assert out.logits.dtype == torch.float32 and len(out) == 101


def test_signals_keep_the_order_where_probabilities_round_to_one() -> None:
    logits = torch.tensor([[z, 0.0, 0.0] for z in (18.0, 20.0, 30.0)])
    out = Outputs(logits, torch.zeros(3, dtype=torch.long))
    assert (logits.softmax(1)[:, 0] == 1).all()
    assert (np.diff(out.margin) > 0).all() and (np.diff(out.nll) < 0).all() and (out.nll > 0).all()
    np.testing.assert_allclose(out.nll, [math.log1p(2 * math.exp(-z)) for z in (18, 20, 30)], rtol=1e-5)


def test_batch_size_and_order_do_not_matter() -> None:
    model, whole = network(), predict(network(), Vision(), data())
    for size in (1, 7, 512):
        again = predict(model, Vision(), data(), batch_size=size)
        torch.testing.assert_close(again.logits, whole.logits, rtol=1e-5, atol=1e-6)
    loader = DataLoader(data(), batch_size=10, shuffle=True, generator=torch.Generator().manual_seed(5))
    shuffled = predict(model, Vision(), loader)
    assert not torch.equal(shuffled.labels, whole.labels)
    np.testing.assert_allclose(np.sort(shuffled.margin), np.sort(whole.margin), rtol=1e-4, atol=1e-5)


def test_model_and_random_state_are_found_again() -> None:
    model = network().train()
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    predict(model, Vision(), DataLoader(data(), batch_size=16, shuffle=True))
    assert [m.training for m in model.modules()] == modes and modes[0] and not modes[2]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_mode_comes_back_after_an_error() -> None:
    model = network().train()
    with pytest.raises(RuntimeError):
        predict(model, Vision(), TensorDataset(torch.randn(4, 5), torch.zeros(4, dtype=torch.long)))
    assert all(m.training for m in model.modules())


def test_a_model_that_keeps_a_tensor_of_its_forward_can_be_trained_afterwards() -> None:
    class Table(nn.Module):
        """Computes a table when it first sees a batch, and keeps it: as rotary embeddings and masks often are."""

        def __init__(self) -> None:
            super().__init__()
            self.weight, self.table = nn.Parameter(torch.zeros(6, 4)), None

        def forward(self, x: Tensor) -> Tensor:
            if self.table is None:
                self.table = torch.linspace(0, 1, x.shape[1])
            return (x * self.table) @ (self.weight * self.table[:, None])

    model = Table()
    predict(model, Vision(), data())
    model(torch.randn(3, 6)).sum().backward()
    assert model.weight.grad is not None and model.weight.grad.abs().sum() > 0
    fresh = Table()
    with torch.inference_mode():
        fresh(torch.randn(3, 6))
    with pytest.raises(RuntimeError, match=r"[Ii]nference tensors"):  # docs/design/0014-no-grad.md
        fresh(torch.randn(3, 6)).sum().backward()


def test_half_precision_models_are_scored_in_float32() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :4].bfloat16()

    assert predict(Half(), Vision(), data()).logits.dtype == torch.float32


def test_bad_data_get_one_clear_message() -> None:
    model, labels = network(), torch.tensor([0, 4])
    with pytest.raises(ConfigurationError, match="The forget set is empty"):
        predict(model, Vision(), TensorDataset(torch.empty(0, 6), torch.empty(0).long()), name="forget")
    with pytest.raises(ConfigurationError, match="labels from 0 to 4; the model knows classes 0 to 3"):
        predict(model, Vision(), TensorDataset(torch.randn(2, 6), labels))
    with pytest.raises(ConfigurationError, match="labels from -1"):
        predict(model, Vision(), TensorDataset(torch.randn(2, 6), -labels.clamp(max=1)))
    with pytest.raises(ConfigurationError, match=r"batches \(inputs, labels\)"):
        predict(model, Vision(), TensorDataset(torch.randn(2, 6)))
    with pytest.raises(ConfigurationError, match="one logit knows the classes 0 and 1"):
        predict(nn.Linear(6, 1), Vision(), TensorDataset(torch.randn(2, 6), torch.tensor([0, 2])))
    with pytest.raises(UnsupportedError, match="object has none"):
        predict(model, object(), data())  # type: ignore[arg-type]
