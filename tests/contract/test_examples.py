"""Which examples a contract reads, at the edges: samples, groups that fit no data set, data sets of other shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, Subset, TensorDataset

from unweave.contract import Contract, Keep
from unweave.contract.sets import Sets, guard_size, hold_out
from unweave.errors import ConfigurationError
from unweave.samples import Sample, _bytes, labels, subset


class Rows(Dataset[Any]):
    """A data set that is none of torch's own."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Any:
        return self.rows[row]


def test_a_sample_holds_each_example_once() -> None:
    data = TensorDataset(torch.arange(600.0))
    examples = Sample(data, most=500, seed=1)
    (values,) = zip(*(batch for batch in examples.batches(torch.device("cpu"))), strict=True)
    found = torch.cat(values)
    assert examples.examples == 500 and len(set(found.tolist())) == 500 and found.equal(found.sort().values)
    whole = Sample(data, most=600)
    assert whole.examples == 600


def test_names_of_groups_must_reach_the_last_row_that_is_read() -> None:
    data = TensorDataset(torch.zeros(6), torch.zeros(6))
    rows = np.array([0, 5]), np.array([1, 2])
    for size, fits in ((5, False), (6, True)):
        clause = Keep("loss", absolute=1.0, by=[f"g{n}" for n in range(size)])
        sets = Sets(data, data, data, rows=rows)
        if fits:
            assert (sets.groups(clause, 0), sets.groups(clause, 1)) == (["g0", "g5"], ["g1", "g2"])
        else:
            with pytest.raises(ConfigurationError, match="found 5"):
                sets.groups(clause, 1)


def test_the_sharpest_clause_decides_the_size() -> None:
    sharp, dull = Keep("accuracy", absolute=0.01), Keep("accuracy", absolute=0.5)
    alone = guard_size(Contract(), [sharp], 10**6, None)
    assert guard_size(Contract(), [dull, sharp], 10**6, None) == alone > guard_size(Contract(), [dull], 10**6, None)
    grouped = Keep("accuracy", absolute=0.5, by="class")
    assert guard_size(Contract(), [grouped], 10**6, None) == guard_size(Contract(), [dull], 10**6, None)


def test_labels_are_found_where_there_are_pairs() -> None:
    x = torch.zeros(2)
    assert labels(Rows([(x, 3), (x, 1)])).tolist() == [3, 1]  # type: ignore[union-attr]
    for unlabelled in (Rows([(x, 3, 4), (x, 1, 2)]), Rows([x, x]), Rows([{"a": x}] * 2), Rows([])):
        assert labels(unlabelled) is None
        assert not len(unlabelled) or labels(Subset(unlabelled, [0])) is None
    assert labels(Subset(Rows([(x, 3), (x, 1)]), [1])).tolist() == [1]  # type: ignore[union-attr]


def test_some_rows_of_any_data_set() -> None:
    rows = Rows([(torch.tensor(float(n)), n % 2) for n in range(40)])
    part = subset(rows, np.array([3, 5]))
    assert [part[0][0].item(), part[1][0].item()] == [3.0, 5.0]
    train, sets = hold_out(Contract(), [Keep("accuracy", absolute=0.5)], rows, forget=rows)
    assert len(train) == 20 and len(sets.guard) == len(sets.final) == 10  # type: ignore[arg-type]


def test_the_memory_of_a_batch_of_any_shape() -> None:
    four = torch.zeros(4)
    assert _bytes([four, {"a": four, "b": [four]}, "text", 7, None]) == 48
