"""Labels of any integer type, and true and false, give what int64 gives, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import unweave
from tests._toys import memorised, same, weights
from tests.api._problems import sgd
from unweave import Vision
from unweave.diagnosis.examples import log_odds
from unweave.evaluation import predict
from unweave.modalities.images.tensors import TensorImages
from unweave.samples import labels as labels_of

KINDS = [torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool]


class Scalars(Dataset[Any]):
    """Labels as numpy gives them."""

    def __init__(self, data: TensorDataset, kind: str) -> None:
        self.inputs, self.labels = data.tensors[0], data.tensors[1].numpy().astype(kind)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Any:
        return self.inputs[row], self.labels[row]


def of_two(data: TensorDataset) -> TensorDataset:
    return TensorDataset(data.tensors[0], data.tensors[1] % 2)


def cast(data: TensorDataset, kind: torch.dtype) -> TensorDataset:
    return TensorDataset(data.tensors[0], data.tensors[1].to(kind))


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("kind", [*KINDS, "int32", "bool"], ids=str)
def test_a_run(kind: Any) -> None:
    model, *sides = memorised()
    plain = [of_two(side) for side in sides]
    given: Any = [Scalars(side, kind) if isinstance(kind, str) else cast(side, kind) for side in plain]
    wanted, found = (
        unweave.unlearn(model, forget=forget, retain=retain, contract=None, method="salun", step=sgd, steps=2)
        for forget, retain in (plain, given)
    )
    assert same(weights(found.model), weights(wanted.model)) and found.steps == wanted.steps == 2
    assert not same(weights(found.model), weights(model))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_reading(kind: torch.dtype) -> None:
    model, forget, _ = memorised()
    plain = of_two(forget)
    given = cast(plain, kind)
    batch, other = plain[:], given[:]
    task = Vision()
    assert task.nll(model, other).equal(task.nll(model, batch))
    assert log_odds(task)(model, other).equal(log_odds(task)(model, batch))
    assert np.array_equal(predict(model, task, given).margin, predict(model, task, plain).margin)
    assert predict(model, task, given).labels.dtype == torch.int64
    assert np.array_equal(np.asarray(labels_of(given)), np.asarray(labels_of(plain)))
    images = torch.zeros(len(plain), 1, 2, 2, dtype=torch.uint8)
    assert TensorImages(images, batch[1]).fingerprint() == TensorImages(images, other[1]).fingerprint()
    with pytest.raises(unweave.UnweaveError, match="class indices"):
        task.nll(model, (batch[0], batch[1].float() + 0.5))
