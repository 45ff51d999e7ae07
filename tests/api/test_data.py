"""Data sets, loaders, probes and tasks of every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset, SubsetRandomSampler, TensorDataset

import unweave
from tests._toys import each_step, loss, memorised, same, unseen, weights
from tests.api._problems import FEW, Stream, rng, sgd
from unweave import ConfigurationError, Method, UnsupportedError, Vision
from unweave.losses import Ascent
from unweave.rules import EUPMU


def test_loaders_of_every_kind() -> None:
    """A sampler over one data set is the usual way to split: the two sides then share the data set, not an example."""
    model, forget, retain = memorised()
    whole = TensorDataset(*(torch.cat(parts) for parts in zip(forget.tensors, retain.tensors, strict=True)))
    first, rest = list(range(30)), list(range(30, 240))
    kinds: dict[str, tuple[Any, Any]] = {
        "loaders": (DataLoader(forget, batch_size=15), DataLoader(retain, batch_size=70, shuffle=True)),
        "samplers": tuple(DataLoader(whole, batch_size=15, sampler=SubsetRandomSampler(r)) for r in (first, rest)),
        "batch samplers": tuple(DataLoader(whole, batch_sampler=[r[:15], r[15:30]]) for r in (first, rest)),
        "subsets": (Subset(whole, first), Subset(whole, rest)),
        "a stream": (DataLoader(Stream(), batch_size=10), retain),
        "mixed": (forget, DataLoader(retain, batch_size=70)),
    }
    for name, (f, r) in kinds.items():
        random = rng()
        result = unweave.unlearn(model, forget=f, retain=r, method="graddiff", **FEW)
        assert result.steps == 3 and not same(weights(result.model), weights(model)), name
        assert rng().equal(random), name
    assert len(kinds) == 6
    samplers = [DataLoader(whole, sampler=SubsetRandomSampler(rows)) for rows in ([1, 2, 3], [3, 4])]
    with pytest.raises(ConfigurationError, match="found 1 of 3"):
        unweave.unlearn(model, forget=samplers[0], retain=samplers[1], **FEW)


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Draws from the global random state for every example."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.data[index]
        return x + 0.01 * torch.randn_like(x), y


def test_data_that_draws_at_random_leaves_the_random_state_alone() -> None:
    model, forget, retain = memorised()
    random = rng()
    runs = [
        unweave.unlearn(
            model,
            forget=Augmented(forget),
            retain=Augmented(retain),
            holdout=Augmented(unseen()),
            contract=unweave.Contract(),
            method="salun",
            **FEW,
        )
        for _ in range(2)
    ]
    assert rng().equal(random) and same(*(weights(r.model) for r in runs))


@pytest.mark.parametrize(
    "probe", [unseen, lambda: DataLoader(unseen(), batch_size=50, shuffle=True)], ids=["set", "loader"]
)
def test_the_probe_reaches_the_rule(probe: Callable[[], Any]) -> None:
    model, forget, retain = memorised()
    rule, random, told = EUPMU(dual_lr=5.0, estimator="probe"), rng(), []
    method = Method(Ascent(Vision().nll), Vision().nll, rule, "ours")
    read = lambda record, objectives: told.append(objectives.probe_loss())  # noqa: E731
    result = unweave.unlearn(
        model, forget=forget, retain=retain, method=method, probe=probe(), callbacks=[each_step(read)], step=sgd, **FEW
    )
    assert result.steps == 3 and rng().equal(random)
    assert told[-1] == pytest.approx(loss(result.model, unseen()), rel=1e-5)
    with pytest.raises(ConfigurationError, match="pass probe="):
        unweave.unlearn(model, forget=forget, retain=retain, method=method, **FEW)


class Words(Dataset[dict[str, Any]]):
    """Batches are dicts, and there are no labels: predict the next of two tokens."""

    def __init__(self, seed: int, size: int) -> None:
        self.ids = torch.randint(10, (size, 2), generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"ids": self.ids[index], "mask": torch.ones(2)}


class NextToken:
    """A task of one's own: two functions."""

    def nll(self, model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch["ids"][:, 0]), batch["ids"][:, 1], reduction="none")

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Any) -> Tensor:
        with torch.no_grad():
            target = reference(batch["ids"][:, 0]).log_softmax(-1)
        predicted = model(batch["ids"][:, 0]).log_softmax(-1)
        return F.kl_div(predicted, target, reduction="none", log_target=True).sum(-1)


@pytest.mark.parametrize("name", ["hamu_q", "eupmu", "ofmu", "kl"])
def test_a_task_of_ones_own_over_dicts(name: str) -> None:
    model = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 10))
    forget, retain = Words(0, 12), Words(5, 40)
    retain.ids[:, 0] = retain.ids[:, 0] % 5  # so that no pair is in both
    forget.ids[:, 0] = 5 + forget.ids[:, 0] % 5
    result = unweave.unlearn(model, forget=forget, retain=retain, task=NextToken(), method=name, micro=2, steps=8)
    assert result.steps == 8
    after, before = (NextToken().nll(m, {"ids": forget.ids}).mean() for m in (result.model, model))
    assert after > before
    enough = [unweave.Forget("loss", at_least=before.item() + 0.1), unweave.Forget("unseen", margin=0.5)]
    under = unweave.Contract(keep=[unweave.Keep("perplexity", relative=1.0)], forget=enough)
    kept = unweave.unlearn(
        model, forget=forget, retain=retain, task=NextToken(), method=name, contract=under, holdout=Words(3, 30)
    ).contract
    assert kept is not None and kept.kept and len(kept.verdicts) == 3
    for message, call in {
        "'accuracy' is of classes, and this task has none": {
            "contract": unweave.Contract(forget=[unweave.Forget("accuracy", at_most=0.1)])
        },
        "needs a task with predictions": {"method": "random_label"},
    }.items():
        with pytest.raises((ConfigurationError, UnsupportedError), match=message):
            unweave.unlearn(model, forget=forget, retain=retain, task=NextToken(), **call)
