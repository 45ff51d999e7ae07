"""After the last step: each guard has a case that trips it, and one nearby that does not."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests.guards._problems import CLASSES, data, inputs, right, task
from unweave.guards import collapsed, nothing_changed, probed, same_scores
from unweave.guards.probe import Seen


def constant(answer: int, share: float) -> nn.Module:
    """Says one class for a share of the inputs, by their first number, and what it knows for the others."""

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = right()

        def forward(self, x: Tensor) -> Tensor:
            rows = torch.arange(len(x)) < share * len(x)
            return torch.where(rows[:, None], 100 * torch.eye(CLASSES)[answer], self.inner(x))

    return Constant()


def test_after_the_last_step() -> None:
    many = data(400)
    one = TensorDataset(inputs(400, 0)[0], torch.full((400,), 2))
    nothing = right()
    for weights in nothing.parameters():
        weights.data.fill_(torch.nan)

    def told(model: nn.Module, retain: TensorDataset) -> str:
        return collapsed(probed(model, task, many, retain))

    cases = {
        "one class": (told(constant(2, 1.0), many), "predicts class 2 for 100.0 % of 400 retain examples"),
        "one class, mostly": (told(constant(2, 0.9), many), ""),
        "one class, rightly": (told(constant(2, 1.0), one), ""),
        "what it knows": (told(right(), many), ""),
        "no number": (
            told(nothing, many),
            "loss is not finite on 400 of 400 forget and 400 of 400 retain",
        ),
        "no weight moved": (nothing_changed(False), "THE RUN CHANGED NOTHING"),
        "no score moved": (nothing_changed(True, True), "THE RUN CHANGED NO SCORE"),
        "something moved": (nothing_changed(True), ""),
    }
    for name, (text, says) in cases.items():
        assert says in text and bool(says) == bool(text), f"{name}: {text}"
    assert len(cases) == 8


def test_scores_that_print_alike() -> None:
    """The same predictions, and the loss to three digits; what is no number is like nothing."""
    many = data(400)
    before = probed(right(), task, many, many)

    def other(factor: float) -> dict[str, Seen]:
        return {name: replace(seen, loss=seen.loss * factor) for name, seen in before.items()}

    assert same_scores(before, other(1 + 1e-6)) and not same_scores(before, other(1.1))
    wrong = {name: replace(seen, predicted=torch.zeros(400).long()) for name, seen in before.items()}
    assert not same_scores(before, wrong) and not same_scores(other(torch.nan), other(torch.nan))
