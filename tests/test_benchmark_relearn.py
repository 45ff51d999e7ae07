"""Ideas against relearning, on a text model of a few hundred weights."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from unweave.execution import seeded
from unweave.modalities.texts.data import TextRows
from unweave.tasks import Language

pytest.importorskip("transformers")
TASK = Language()


@pytest.fixture(scope="module")
def ideas() -> Iterator[ModuleType]:
    path = Path(__file__).parents[1] / "benchmarks" / "tofu" / "ideas.py"
    spec = importlib.util.spec_from_file_location("ideas", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ideas"] = module  # where dataclasses look for their types
    spec.loader.exec_module(module)
    yield module
    del sys.modules["ideas"]


@pytest.fixture(scope="module")
def rows_and_tokenizer() -> tuple[TextRows, Any]:
    from unweave.modalities.texts.training import TextTraining, as_tokens, trained_tokenizer

    rows = [{"id": str(n), "question": f"Who is {n}?", "answer": f"It is {n * n}."} for n in range(24)]
    tokenizer = trained_tokenizer(rows, TextTraining(vocabulary=300))
    return as_tokens(rows, tokenizer), tokenizer


@pytest.fixture
def model(rows_and_tokenizer: tuple[TextRows, Any]) -> nn.Module:
    from unweave.modalities.texts.training import TextTraining, untrained

    with seeded(0):
        return untrained(rows_and_tokenizer[1], TextTraining(hidden=16, layers=2)).eval()


def made(ideas: ModuleType, rows: TextRows) -> dict[str, Any]:
    return {
        "noise": ideas.Noisy(TASK.nll, 0.05),
        "sam": ideas.Sharp(TASK.nll, steps=2, radius=0.05),
        "tar": ideas.Tar(TASK.nll, rows, steps=2),
        "latent": ideas.Latent(TASK.nll, block=0, share=1.0),
        "drawn": ideas.Drawn(TASK.nll, rows, 4),
    }


@pytest.mark.parametrize("name", ["noise", "sam", "tar", "latent", "drawn"])
def test_a_moved_loss_is_one_number_an_example_and_moves_the_weights(
    ideas: ModuleType, rows_and_tokenizer: tuple[TextRows, Any], model: nn.Module, name: str
) -> None:
    rows = rows_and_tokenizer[0]
    before = [p.detach().clone() for p in model.parameters()]
    with seeded(1):
        values = made(ideas, rows)[name](model, rows.batch(torch.arange(10)))
    assert values.shape == (10,) and bool(values.isfinite().all())
    values.mean().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert all(p.equal(b) for p, b in zip(model.parameters(), before, strict=True))


def test_where_a_worst_case_leads_the_answers_are_better_known(
    ideas: ModuleType, rows_and_tokenizer: tuple[TextRows, Any], model: nn.Module
) -> None:
    rows = rows_and_tokenizer[0]
    batch = rows.batch(torch.arange(10))
    own, worst, latent = (
        float(loss(model, batch).mean().detach())
        for loss in (TASK.nll, ideas.Sharp(TASK.nll, 2, 0.05), ideas.Latent(TASK.nll, 0, 1.0))
    )
    assert worst < own and latent < own


def test_other_starts(ideas: ModuleType, rows_and_tokenizer: tuple[TextRows, Any], model: nn.Module) -> None:
    rows = rows_and_tokenizer[0]
    other = ideas.moved(model, lambda name, p: p + 1)
    half = ideas.toward(model, other, 0.5)
    for p, q in zip(model.parameters(), half.parameters(), strict=True):
        torch.testing.assert_close(q, p + 0.5)
    one, two = rows.subset(torch.arange(8)), rows.subset(torch.arange(8, 24))
    reset = ideas.without(model, other, one, two, 0.1)
    pairs = zip(model.parameters(), reset.parameters(), strict=True)
    changed = sum(int((p != q).sum()) for p, q in pairs)
    count = sum(p.numel() for p in model.parameters())
    assert changed == pytest.approx(0.1 * count, abs=2)
    assert ideas.noised(model, 0.2) is not model
