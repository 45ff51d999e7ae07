"""What most calls have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from tests._toys import memorised

FEW = {"steps": 3, "forget_batch": 15, "retain_batch": 70}


def rng() -> Tensor:
    return torch.random.get_rng_state()


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.02)


class Stream(IterableDataset):  # type: ignore[type-arg]
    """Pairs without a length or an index."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from (memorised()[1][i] for i in range(30))
