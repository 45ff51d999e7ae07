"""One example alone in a micro-batch, under a norm that takes its mean over the batch."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from tests.guards._problems import CLASSES, WIDTH, data, task
from unweave.data.batches import count
from unweave.data.pairs import Pairs
from unweave.errors import ConfigurationError
from unweave.guards import check_single_example


class Images(nn.Module):
    """As pixels of one channel: the norm has several values of one example."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, None]


def normed(training: bool) -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, CLASSES)).train(training)


def by_pixel() -> nn.Module:
    return nn.Sequential(Images(), nn.BatchNorm1d(1), nn.Flatten(), nn.Linear(WIDTH, CLASSES)).train()


def loader(size: int, drop_last: bool = False) -> DataLoader[Any]:
    return DataLoader(data(21, 1), size, drop_last=drop_last)


CASES: dict[str, tuple[nn.Module, Any, dict[str, int], str]] = {
    "batches of one": (normed(True), data(21, 1), {"forget_batch": 1}, "forget"),
    "as it is evaluated": (normed(False), data(21, 1), {"forget_batch": 1}, ""),
    "several pixels": (by_pixel(), data(21, 1), {"forget_batch": 1}, ""),
    "batches of two": (normed(True), data(21, 1), {"forget_batch": 3}, ""),
    "micro-batches of one": (normed(True), data(21, 1), {"forget_batch": 3, "micro": 2}, "forget"),
    "the last batch of a loader": (normed(True), loader(4), {}, "forget"),
    "which is dropped": (normed(True), loader(4, drop_last=True), {}, ""),
    "a loader that ends evenly": (normed(True), loader(7), {}, ""),
    "both sides": (normed(True), data(21, 1), {"forget_batch": 1, "retain_batch": 1}, "forget retain"),
}


def test_one_example_alone() -> None:
    refused = 0
    for name, (model, forget, sizes, says) in CASES.items():
        retain = data()
        pairs = Pairs(forget, retain, **sizes)  # type: ignore[arg-type]
        before = {key: value.clone() for key, value in model.state_dict().items()}
        try:
            check_single_example(model, task, forget, retain, pairs)
            found = []
        except ConfigurationError as error:
            found = [fault.partition(":")[0] for fault in error.faults]
        assert " ".join(found) == says, name
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), name
        refused += bool(found)
    assert (len(CASES), refused) == (9, 4)


@pytest.mark.parametrize("sizes", [{}, {"forget_batch": 4}, {"forget_batch": 5, "micro": 3}, {"micro": 7}])
@pytest.mark.parametrize("kind", ["data", "loader"])
def test_the_smallest_micro_batch_is_known_before_it_is_drawn(kind: str, sizes: dict[str, int]) -> None:
    forget = data(21, 1) if kind == "data" else loader(4)
    pairs = Pairs(forget, data(), **sizes)  # type: ignore[arg-type]
    drawn = list(itertools.islice(pairs, 21))
    least = {side: min(count(part) for pair in drawn for part in getattr(pair, side)) for side in ("forget", "retain")}
    assert pairs.smallest == least
