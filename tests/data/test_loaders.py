"""Loaders over data sets with an index under a contract, and rows as Hugging Face's data sets have them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler, TensorDataset
from torch.utils.data import WeightedRandomSampler as Weighted

import unweave
from tests._toys import memorised, unseen
from unweave import ConfigurationError, Contract, Forget, Keep
from unweave.contract.sets import hold_out
from unweave.data.batches import collated
from unweave.data.loaders import Collated, by_index, narrowed, opened
from unweave.data.pairs import fetched
from unweave.samples import labels, subset

KEEP = [Keep("accuracy", absolute=0.2)]
CONTRACT = Contract(keep=KEEP, forget=[Forget("accuracy", at_most=0.5)])


class Scaled(nn.Module):
    """Takes inputs as its own collate_fn makes them, and no others."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x["doubled"] / 2)


def doubled(rows: list[Any]) -> tuple[dict[str, Tensor], Tensor]:
    inputs, answers = zip(*rows, strict=True)
    return {"doubled": 2 * torch.stack(inputs)}, torch.stack(answers)


def test_a_loader_under_a_contract_is_divided_and_keeps_its_collate_fn_and_its_batches() -> None:
    model, forget, retain = memorised()
    sizes: list[int] = []

    def noted(rows: list[Any]) -> Any:
        sizes.append(len(rows))
        return doubled(rows)

    loader = DataLoader(retain, batch_size=35, shuffle=True, collate_fn=noted)
    result = unweave.unlearn(
        Scaled(model),
        forget=DataLoader(forget, batch_size=10, shuffle=True, collate_fn=doubled),
        retain=loader,
        holdout=DataLoader(unseen(), batch_size=20, collate_fn=doubled),
        contract=CONTRACT,
        steps=20,
    )
    assert result.contract is not None and result.contract.met and result.steps
    guard, final = (each.n for each in (result.contract.verdicts[0].guard, result.contract.verdicts[0].final) if each)
    assert 0 < guard == final <= len(retain) // 4 and 35 in sizes


def test_no_example_of_a_loader_is_both_trained_on_and_measured_on() -> None:
    """Of what its sampler chooses, and in the same proportions of labels as without a loader."""
    _, forget, retain = memorised()
    rows = list(range(10, 210))
    plain, sets = hold_out(CONTRACT, KEEP, Subset(retain, rows), forget=forget)
    loader = DataLoader(retain, batch_size=64, sampler=SubsetRandomSampler(rows), collate_fn=doubled, drop_last=True)
    left, other = hold_out(CONTRACT, KEEP, loader, forget=forget)
    assert isinstance(left, DataLoader) and left.batch_size == 64 and left.drop_last and left.collate_fn is doubled
    assert isinstance(other.guard, Collated) and other.rows is not None and sets.rows is not None
    for mine, theirs in zip(other.rows, sets.rows, strict=True):
        assert np.array_equal(mine, theirs)
    trained = {tuple(x.tolist()) for x, _ in left.dataset}
    measured = {tuple(x.tolist()) for part in (other.guard, other.final) for x, _ in part}  # type: ignore[union-attr]
    assert len(trained) + len(measured) == 200 and not trained & measured and len(plain) == len(trained)  # type: ignore[arg-type]


def test_a_sampler_of_ones_own_has_no_index_and_the_way_out_is_said() -> None:
    model, forget, retain = memorised()
    loader = DataLoader(retain, batch_size=32, sampler=Weighted(torch.ones(len(retain)), 64))
    assert opened(loader) is None and by_index(loader) is loader
    with pytest.raises(ConfigurationError, match=r"a loader with a sampler of its own.*: pass guard="):
        unweave.unlearn(model, forget=forget, retain=loader, contract=CONTRACT)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from ()


def test_what_a_loader_gives_by_index() -> None:
    _, forget, _ = memorised()
    shuffled = DataLoader(forget, batch_size=7, shuffle=True, collate_fn=doubled)
    plain, own = by_index(DataLoader(Subset(forget, range(9)), batch_size=4)), by_index(shuffled)
    assert by_index(DataLoader(forget)) is forget
    assert isinstance(own, Collated) and isinstance(plain, Collated) and len(plain) == 9
    inputs, answers = fetched(subset(own, np.array([3, 1])), torch.tensor([0, 1]))
    assert torch.equal(inputs["doubled"], 2 * forget.tensors[0][[3, 1]])
    assert torch.equal(answers, forget.tensors[1][[3, 1]])
    assert labels(own) is not None and np.array_equal(labels(own), forget.tensors[1])  # type: ignore[arg-type]
    assert opened(DataLoader(Stream())) is None and opened(forget) is forget
    few = narrowed(DataLoader(forget, batch_size=10, drop_last=True), [0, 1, 2])
    assert len(list(few)) == 1, "a rest that is all there is, is not dropped"


def test_rows_with_lists_of_numbers_are_read_as_tensors() -> None:
    made = collated([{"ids": [1, 2, 3], "label": 0}, {"ids": [4, 5, 6], "label": 1}])
    assert made["ids"].tolist() == [[1, 2, 3], [4, 5, 6]] and made["label"].tolist() == [0, 1]
    nested, flags = collated([([[1.0], [2.0]], [True]), ([[3.0], [4.0]], [False])])
    assert nested.shape == (2, 2, 1) and flags.dtype == torch.bool
    pair = collated([[torch.ones(2), 1], [torch.zeros(2), 0]])
    assert pair[0].shape == (2, 2) and pair[1].tolist() == [1, 0], "an example that is a list itself is a pair"
    words = collated([{"text": "a", "x": [1.0]}, {"text": "b", "x": [2.0]}])
    assert words["text"] == ["a", "b"] and words["x"].shape == (2, 1)
    for ragged in ([{"ids": [1, 2]}, {"ids": [1]}], [{"ids": [[1, 2], [1]]}]):
        with pytest.raises(ConfigurationError, match="pass a DataLoader with a collate_fn"):
            collated(ragged)


def rows_of(data: TensorDataset) -> list[dict[str, Any]]:
    return [{"input": x.tolist(), "label": int(y)} for x, y in data]


def test_a_hugging_face_data_set_is_read_as_it_is() -> None:
    pytest.importorskip("datasets")
    from datasets import Dataset as Table

    model, forget, retain = memorised()
    sides = {name: Table.from_list(rows_of(data)) for name, data in (("forget", forget), ("retain", retain))}

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input: Tensor) -> Tensor:
            return self.inner(input)

    once = unweave.unlearn(Named(), **sides, method="ssd")
    assert once.steps == 1
    told = unweave.unlearn(Named(), **sides, contract=CONTRACT, steps=10)
    plain = unweave.unlearn(model, forget=forget, retain=retain, contract=CONTRACT, steps=10)
    assert told.contract is not None and plain.contract is not None and told.contract.met
    assert str(told.contract) == str(plain.contract)


def test_several_splits_are_refused_by_name() -> None:
    model, forget, retain = memorised()

    class Splits(dict[str, Dataset[Any]]):
        pass

    splits: Any = Splits(train=retain, test=unseen())
    with pytest.raises(ConfigurationError) as caught:
        unweave.unlearn(model, forget=forget, retain=splits)
    assert str(caught.value) == (
        "retain must be one data set; found Splits of 2: pass one, such as retain=ds['train'], retain=ds['test']."
    )
    odd: Any = {"train": SimpleNamespace()}
    with pytest.raises(ConfigurationError, match="retain must be a torch Dataset or DataLoader"):
        unweave.unlearn(model, forget=forget, retain=odd)


def test_loaders_say_whether_a_class_is_removed_whole() -> None:
    inputs, classes = torch.randn(90, 4), torch.arange(90) % 3
    one, others = (TensorDataset(inputs[rows], classes[rows]) for rows in (classes == 2, classes != 2))
    sides = [DataLoader(data, batch_size=16, collate_fn=doubled) for data in (one, others)]
    assert hold_out(CONTRACT, KEEP, sides[1], forget=sides[0])[1].whole_class
    assert not hold_out(CONTRACT, KEEP, sides[1], forget=sides[1])[1].whole_class


def test_a_frame_is_refused_with_the_way_out() -> None:
    pandas = pytest.importorskip("pandas")
    model, forget, _ = memorised()
    with pytest.raises(ConfigurationError, match=r"found DataFrame. For example: retain=torch.*TensorDataset"):
        unweave.unlearn(model, forget=forget, retain=pandas.DataFrame({"a": [1.0]}))
