from __future__ import annotations

import math

import torch
from torch import nn

from unweave.losses import Ascent, Weighted
from unweave.tasks import Vision


class Scores(nn.Module):
    """A model whose logits are its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


BATCH = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]), torch.tensor([0, 1])


def test_ascent_negates() -> None:
    """p = (1/2, 1/2) and (3/4, 1/4); the labels have 1/2 and 1/4, so nll = (log 2, log 4)."""
    nll = Vision().nll
    torch.testing.assert_close(nll(Scores(), BATCH), torch.tensor([math.log(2), math.log(4)]))
    assert Ascent(nll)(Scores(), BATCH).equal(-nll(Scores(), BATCH))


def test_weighted_adds_example_by_example() -> None:
    """2 nll + 0.5 (-nll) = 1.5 nll."""
    nll = Vision().nll
    found = Weighted(((2.0, nll), (0.5, Ascent(nll))))(Scores(), BATCH)
    torch.testing.assert_close(found, 1.5 * torch.tensor([math.log(2), math.log(4)]))
