"""A language model small enough for a pencil: the next token depends on the current one alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

P = torch.tensor([[1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 4, 1 / 2], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64)


class Bigram(nn.Module):
    """Row i of the table is the distribution after token i."""

    def __init__(self, probabilities: Tensor = P):
        super().__init__()
        self.table = nn.Parameter(probabilities.log())

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.table[input_ids]


def uniform(tokens: int = 3) -> nn.Module:
    return Bigram(torch.full((tokens, tokens), 1 / tokens, dtype=torch.float64)).eval().requires_grad_(False)


def texts(answers: list[list[int]], **more: Any) -> dict[str, Any]:
    """Prompt "0", then each answer; padded with token 0."""
    width = 1 + max(map(len, answers))
    ids = torch.tensor([[0, *a] + [0] * (width - 1 - len(a)) for a in answers])
    labels = torch.tensor([[-100, *a] + [-100] * (width - 1 - len(a)) for a in answers])
    return {
        "input_ids": ids,
        "attention_mask": torch.tensor([[1] * (1 + len(a)) + [0] * (width - 1 - len(a)) for a in answers]),
        "labels": labels,
        "index": torch.arange(len(ids)),
        **more,
    }


# p = 1/4, 1/2 after 0, 1 and p = 1/4 after 0: -log p of the answers is log 8 and log 4.
TWO = texts([[1, 2], [1]])
ONE = texts([[1, 2]])
