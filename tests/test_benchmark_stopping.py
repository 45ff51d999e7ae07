"""When a run of the comparison ends: the level, the rhythm, and models that no longer answer."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from unweave import ConfigurationError, Record, Vision
from unweave.rules import Step


def loaded() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "compare" / "stopping.py"
    spec = importlib.util.spec_from_file_location("stopping", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


stopping = loaded()


def record(number: int) -> Record:
    return Record(number, Step(torch.zeros(2), torch.ones(1, 2)), 0.1, True)


def data(labels: list[int]) -> TensorDataset:
    torch.manual_seed(0)
    return TensorDataset(
        nn.functional.one_hot(torch.tensor(labels), 3).float() + 0.01 * torch.rand(len(labels), 3), torch.tensor(labels)
    )


def identity(scale: float = 1.0) -> nn.Linear:
    model = nn.Linear(3, 3, bias=False)
    nn.init.eye_(model.weight)
    with torch.no_grad():
        model.weight.mul_(scale)
    return model


def test_accuracy_is_looked_at_every_few_steps_and_stops_at_the_level() -> None:
    forget, model = data([0, 1, 2] * 10), identity()
    stop = stopping.forget_accuracy(model, Vision(), forget, at_most=0.0)
    assert [stop(record(n)) for n in range(1, 11)] == [None] * 10  # all are still recognised
    with torch.no_grad():
        model.weight.neg_()
    assert [stop(record(n)) is not None for n in range(1, 11)] == [False] * 4 + [True] + [False] * 4 + [True]
    assert "0.000 <= 0.000" in (stop(record(5)) or "")


def test_membership_stops_once_the_sets_cannot_be_told_apart() -> None:
    forget, holdout = data([0] * 30), data([1] * 30)
    known = identity()
    with torch.no_grad():
        known.weight[0] *= 5  # the forget class is known better
    assert stopping.membership(known, Vision(), forget, holdout)(record(5)) is None
    with torch.no_grad():
        known.weight[0] /= 25
    assert "AUC" in (stopping.membership(known, Vision(), forget, holdout)(record(5)) or "")


def test_a_model_whose_outputs_are_not_finite_has_diverged() -> None:
    stop = stopping.membership(identity(float("nan")), Vision(), data([0] * 30), data([1] * 30))
    assert (stop(record(5)) or "").startswith("diverged")


@pytest.mark.parametrize("level", [-0.1, 1.5])
def test_a_level_that_is_no_accuracy_is_refused(level: float) -> None:
    with pytest.raises(ConfigurationError, match=r"\[0, 1\]"):
        stopping.forget_accuracy(identity(), Vision(), data([0]), level)
