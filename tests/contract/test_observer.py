"""A look leaves no trace, and sees exactly what a plain forward gives."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tests._toys import memorised, network, unseen
from tests.api._problems import rng
from unweave.contract.observer import Observer
from unweave.contract.sets import Examples
from unweave.tasks import Vision


def test_a_look_leaves_no_trace_and_is_exact() -> None:
    model = network(nn.BatchNorm1d(64), nn.Dropout(0.5)).train()
    model[1].eval()
    modes, buffers, random = [m.training for m in model.modules()], [b.clone() for b in model.buffers()], rng()
    sets = {"guard": Examples(memorised()[2]), "holdout": Examples(unseen())}
    observer = Observer(
        Vision(), sets, {"guard": {"loss": "loss", "accuracy": "accuracy"}, "holdout": {"loss": "loss"}}
    )
    seen = observer.see(model, ["guard", "holdout", "not there"])
    assert [m.training for m in model.modules()] == modes and rng().equal(random)
    assert all(a.equal(b) for a, b in zip(buffers, model.buffers(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    inputs, labels = memorised()[2].tensors
    with torch.no_grad():
        expected = nn.functional.cross_entropy(model.eval()(inputs), labels, reduction="none").double().numpy()
    np.testing.assert_allclose(seen["guard"]["loss"], expected, rtol=1e-6)
    assert set(seen) == {"guard", "holdout"} and len(seen["holdout"]["loss"]) == 120


def test_two_looks_see_the_same_noise() -> None:
    def noisy(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return torch.rand(len(batch[0]))

    observer = Observer(Vision(), {"guard": Examples(unseen())}, {"guard": {"noise": noisy}})
    first, second = (observer.see(network(), ["guard"])["guard"]["noise"] for _ in range(2))
    assert np.array_equal(first, second) and len(set(first)) == 120
