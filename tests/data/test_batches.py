"""Batches of every shape are counted, divided and moved alike."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch

from unweave.data.batches import count, divided, moved
from unweave.errors import ConfigurationError

Named = namedtuple("Named", "images labels")
X, Y = torch.rand(5, 2), torch.arange(5)
SHAPES = {
    "tensor": X,
    "tuple": (X, Y),
    "list": [X, Y],
    "dict": {"input_ids": X, "labels": Y},
    "nested": {"inputs": (X, [Y])},
    "named": Named(X, Y),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_count_divide_and_move(shape):
    batch = SHAPES[shape]
    assert count(batch) == 5
    parts = divided(batch, 3)
    assert [count(part) for part in parts] == [2, 2, 1]
    assert all(type(part) is type(batch) for part in parts)
    assert divided(batch, 1)[0] is batch
    assert moved(batch, None) is batch
    assert count(moved(batch, "meta")) == 5


def test_divided_parts_are_the_batch():
    parts = divided((X, Y), 2)
    assert torch.equal(torch.cat([part[0] for part in parts]), X)
    assert torch.equal(torch.cat([part[1] for part in parts]), Y)


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        (("a", "b"), "found tuple"),
        ({}, "found dict"),
        (torch.tensor(1.0), "a single number"),
        (3, "found int"),
    ],
)
def test_what_cannot_be_counted(batch, found):
    with pytest.raises(ConfigurationError, match=found):
        count(batch)


def test_what_cannot_be_divided():
    with pytest.raises(ConfigurationError, match="found str"):
        divided((X, ["a"] * 5), 2)
