"""A look leaves no trace, and sees exactly what a plain forward gives."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

from tests._toys import memorised, network, unseen
from tests.api._problems import rng
from unweave.contract import Forget, Keep
from unweave.contract.observer import Observer, chosen
from unweave.contract.sets import Sets
from unweave.samples import Sample
from unweave.tasks import Vision


def test_a_look_leaves_no_trace_and_is_exact() -> None:
    model = network(nn.BatchNorm1d(64), nn.Dropout(0.5)).train()
    model[1].eval()
    modes, buffers, random = [m.training for m in model.modules()], [b.clone() for b in model.buffers()], rng()
    sets = {"guard": Sample(memorised()[2]), "holdout": Sample(unseen())}
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

    observer = Observer(Vision(), {"guard": Sample(unseen())}, {"guard": {"noise": noisy}})
    first, second = (observer.see(network(), ["guard"])["guard"]["noise"] for _ in range(2))
    assert np.array_equal(first, second) and len(set(first)) == 120


def test_what_is_read_of_which_set() -> None:
    """Only what a clause asks for; nothing of a set that is not there."""
    accuracy, loss = Keep("accuracy", absolute=0.1), Keep("perplexity", absolute=1.0)
    unseen_, gone, same = Forget("unseen"), Forget("accuracy", at_most=0.5), Forget("retrained")
    forget, retain = memorised()[1:]
    every = Sets(forget, retain, retain, unseen())
    for sets, keeps, forgets, expected in (
        (Sets(forget), (), (), {"forget": {"loss"}}),
        (Sets(forget, retain), [loss], (), {"forget": {"loss"}, "guard": {"loss"}}),
        (Sets(forget, retain), [accuracy], (), {"forget": {"loss", "accuracy"}, "guard": {"accuracy"}}),
        (every, (), [gone], {"forget": {"loss", "accuracy"}}),
        (every, (), [same], {"forget": {"loss", "accuracy"}}),
        (Sets(forget), (), [unseen_], {"forget": {"loss", "score"}}),
        (every, [loss], (), {"forget": {"loss"}, "guard": {"loss"}, "final": {"loss"}}),
        (every, (), [unseen_], {"forget": {"loss", "score"}, "holdout": {"loss", "score"}}),
    ):
        found, metrics = chosen(sets, keeps, forgets, Vision(), seed=0)
        finals = {f"{name} final" for name in ("forget", "holdout") if name in expected}
        assert set(found) == set(metrics) == set(expected) | finals
        for name, wanted in expected.items():
            assert set(metrics[name]) == wanted
            assert metrics.get(f"{name} final", metrics[name]) == metrics[name]


def test_a_set_without_examples_has_no_values() -> None:
    nothing = Sample(Subset(unseen(), []))
    observer = Observer(Vision(), {"guard": nothing}, {"guard": {"loss": "loss"}})
    assert observer.see(network(), ["guard"])["guard"]["loss"].shape == (0,)


def test_one_half_of_a_holdout_steers_and_the_other_measures() -> None:
    forget = memorised()[1]
    holdout = TensorDataset(torch.arange(240.0)[:, None], torch.zeros(240, dtype=torch.long))
    found, _ = chosen(Sets(forget, holdout=holdout), (), [Forget("unseen")], Vision(), seed=0)
    rows = [
        {x for batch in found[name].batches(torch.device("cpu")) for x in batch[0][:, 0].tolist()}
        for name in ("holdout", "holdout final")
    ]
    assert [len(part) for part in rows] == [120, 120] and len(rows[0] | rows[1]) == 240
