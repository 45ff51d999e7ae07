"""Which examples are read: disjoint, stratified, the same ones each time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler

from tests._toys import memorised, unseen
from tests.api._problems import Stream, rng
from unweave.contract import Contract, Forget, Keep
from unweave.contract.sets import Sets, divide, guard_size, halves, hold_out, whole_class
from unweave.errors import ConfigurationError
from unweave.modalities.images.tensors import TensorImages
from unweave.samples import READ, Sample, labels

KEEP = [Keep("accuracy", absolute=0.05)]
CPU = torch.device("cpu")


class Noisy(Dataset):  # type: ignore[type-arg]
    """Draws something new for every example each time it is asked."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return torch.randn(2), row % 3


def test_divided_without_overlap_and_each_label_in_its_share() -> None:
    known, count = np.random.default_rng(0).choice(5, 1000, p=[0.4, 0.3, 0.2, 0.06, 0.04]), 0
    for seed in (0, 1):
        train, guard, final = divide(1000, known, 200, 150, seed)
        assert sorted([*train, *guard, *final]) == list(range(1000)) and (len(guard), len(final)) == (200, 150)
        for label in range(5):
            share = (known == label).mean()
            for part in (guard, final):
                assert abs((known[part] == label).sum() - share * len(part)) <= 1.5
                count += 1
    assert count == 20
    assert not np.array_equal(divide(1000, known, 200, 150, 0)[1], guard)
    assert all(map(np.array_equal, divide(1000, None, 10, 10, 3), divide(1000, None, 10, 10, 3)))


def test_sizes() -> None:
    contract = Contract()
    assert guard_size(contract, [Keep("accuracy", absolute=0.05)], 10_000, None) == 204  # limit / 2 at .05 / 4
    assert guard_size(contract, [Keep("accuracy", absolute=0.05)], 400, None) == 100
    assert guard_size(contract, [Keep("loss", relative=0.05)], 10_000, None) == 1000
    grouped = guard_size(contract, [Keep("accuracy", absolute=0.05, by="class")], 10**6, np.arange(100) % 10)
    assert grouped > 10 * 204
    named = Keep("accuracy", absolute=0.05, by=["a", "b"])
    assert guard_size(contract, [named], 10_000, None) == guard_size(contract, [named], 10_000, np.zeros(10)) > 2 * 204
    assert guard_size(contract, [Keep("accuracy", relative=0.05)], 10_000, None) == 204, "of 1, the most there can be"


def test_the_size_for_a_function_is_that_of_shares() -> None:
    """Nobody has read its values yet; an example that may count twice as much needs more of them."""
    usual, shares, wider = (
        guard_size(Contract(), [Keep(share, absolute=0.2, better="lower", clip=clip)], 10_000, None)
        for clip in (None, 1.0, 2.0)
    )
    assert usual == shares < wider


def share(model: Any, batch: Any) -> Any:
    raise NotImplementedError


def test_held_out_of_the_retain_set() -> None:
    _, forget, retain = memorised()
    train, sets = hold_out(Contract(), KEEP, retain, forget=forget, holdout=unseen())
    sizes = [len(part) for part in (train, sets.guard, sets.final)]
    assert sizes == [106, 52, 52] and sets.holdout is not None and not sets.whole_class
    rows = [tuple(x.tolist()) for part in (train, sets.guard, sets.final) for x in part.tensors[0]]
    assert len(set(rows)) == 210
    again = hold_out(Contract(), KEEP, retain, forget=forget)[1]
    assert again.guard.tensors[0].equal(sets.guard.tensors[0])


def test_sets_of_ones_own() -> None:
    _, forget, retain = memorised()
    train, sets = hold_out(Contract(), KEEP, retain, forget=forget, guard=unseen())
    assert train is retain and len(sets.guard) == 120 and sets.final is None
    train, sets = hold_out(Contract(), KEEP, retain, forget=forget, final=unseen())
    assert (len(train), len(sets.guard), len(sets.final)) == (158, 52, 120) and sets.rows is None
    train, sets = hold_out(Contract(), [], retain, forget=forget)
    assert train is retain and sets.guard is sets.final is None
    assert hold_out(Contract(), KEEP, DataLoader(retain), forget=forget)[1].guard is not None, "it has an index"
    drawn = DataLoader(retain, sampler=WeightedRandomSampler([1.0] * len(retain), 9))
    with pytest.raises(ConfigurationError, match=r"no index to divide it by .*: pass guard="):
        hold_out(Contract(), KEEP, drawn, forget=forget)


def test_a_class_removed_whole_is_noticed() -> None:
    x, y = torch.randn(30, 2), torch.arange(30) % 3
    forget, retain = (TensorDataset(x[chosen], y[chosen]) for chosen in (y == 0, y != 0))
    assert hold_out(Contract(), [], retain, forget=forget)[1].whole_class
    one = TensorDataset(x[:1], y[:1])
    assert hold_out(Contract(), [], retain, forget=one)[1].whole_class, "though it had a single example"


def test_no_class_is_removed_whole_where_one_of_it_stays_or_nobody_knows_the_classes() -> None:
    x, y = torch.randn(30, 2), torch.arange(30) % 3
    retain, unlabelled = TensorDataset(x[y != 0], y[y != 0]), TensorDataset(x)
    partly, none = TensorDataset(x[y != 2], y[y != 2]), TensorDataset(x[:0], y[:0])
    for forget, kept in ((partly, retain), (unlabelled, retain), (partly, unlabelled), (none, retain)):
        assert not whole_class(forget, kept)
    assert Contract().forgets(Sets(partly).whole_class) == (Forget("unseen"),), "unless somebody says so"


def test_groups() -> None:
    _, forget, retain = memorised()
    named = Keep("accuracy", absolute=0.3, by=[f"g{row % 2}" for row in range(210)])
    sets = hold_out(Contract(), [named], retain, forget=forget)[1]
    assert sets.groups(named, 0) == [f"g{row % 2}" for row in sets.rows[0]]
    by_class = Keep("accuracy", absolute=0.3, by="class")
    assert sets.groups(by_class, 1) == [str(int(label)) for label in sets.final.tensors[1]]
    assert sets.groups(KEEP[0], 0) is None
    own = hold_out(Contract(), [named], retain, forget=forget, guard=unseen())[1]
    with pytest.raises(ConfigurationError, match="with guard= of your own, group by='class'"):
        own.groups(named, 0)
    unlabelled = hold_out(Contract(), KEEP, retain, forget=forget, guard=TensorDataset(torch.zeros(9, 2)))[1]
    with pytest.raises(ConfigurationError, match=r"needs a guard set of \(input, label\); name the groups"):
        unlabelled.groups(by_class, 0)
    assert unlabelled.final is None and unlabelled.groups(by_class, 1) is None


def test_labels() -> None:
    _, forget, _ = memorised()
    images = TensorImages(torch.zeros(4, 1, 2, 2), torch.tensor([3, 1, 2, 0]))
    assert labels(forget).tolist() == forget.tensors[1].tolist()
    assert labels(Subset(images, [2, 0])).tolist() == [2, 3]
    assert labels(Noisy(5)).tolist() == [0, 1, 2, 0, 1]
    nothing = [TensorDataset(torch.zeros(3)), TensorDataset(torch.zeros(3), torch.full((3,), 0.5)), DataLoader(forget)]
    assert [labels(data) for data in (*nothing, [1, 2, 3])] == [None] * 4


def test_the_same_examples_in_the_same_order_each_time() -> None:
    before = rng()
    random = [Noisy(40), DataLoader(Noisy(40), shuffle=True, batch_size=7), DataLoader(memorised()[1], shuffle=True)]
    count = 0
    for data in random:
        examples = Sample(data)
        first, second = (torch.cat([x for x, _ in examples.batches(CPU)]) for _ in range(2))
        assert first.equal(second) and len(first) == examples.examples
        count += 1
    assert count == 3 and rng().equal(before)


def test_samples() -> None:
    data = TensorDataset(torch.arange(2000.0)[:, None], torch.zeros(2000, dtype=torch.long))
    one, same, other = (Sample(data, most=500, seed=seed) for seed in (0, 0, 1))
    drawn = [torch.cat([x for x, _ in each.batches(CPU)]) for each in (one, same, other)]
    assert one.examples == 500 and drawn[0].equal(drawn[1]) and not drawn[0].equal(drawn[2])
    assert [len(x) for x, _ in Sample(data).batches(CPU)] == [READ, READ, READ, 2000 - 3 * READ]
    assert Sample(DataLoader(data, batch_size=64), most=100).examples == 128
    assert Sample(Stream()).examples == 30


def test_a_large_set_is_read_anew_and_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unweave.samples.KEPT", 100)
    examples = Sample(Noisy(700))
    first, second = (torch.cat([x for x, _ in examples.batches(CPU)]) for _ in range(2))
    assert first.equal(second) and not examples._kept


def test_a_large_holdout_is_halved() -> None:
    assert halves(unseen(), 0) == (None, None) and halves(None, 0) == (None, None)
    first, second = halves(TensorDataset(torch.zeros(301, 2), torch.arange(301) % 2), 0)
    assert len(first) == 150 and len(second) == 151 and not np.intersect1d(first, second).size
    first, second = halves(TensorDataset(torch.zeros(200, 2)), 0)
    assert len(first) == len(second) == 100, "at least so many are enough"


def test_a_holdout_without_an_index_is_not_halved() -> None:
    many = DataLoader(TensorDataset(torch.zeros(400, 2), torch.arange(400) % 2), batch_size=1)
    assert halves(many, 0) == halves(Stream(), 0) == (None, None)
