from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from unweave.evaluation import Outputs

Make = Callable[..., Outputs]


@pytest.fixture
def make() -> Make:
    """Outputs of n examples over some classes whose true logit is raised by `skill`."""

    def outputs(
        n: int, seed: int, *, skill: float = 1.0, classes: int = 4, labels: torch.Tensor | None = None
    ) -> Outputs:
        rng = torch.Generator().manual_seed(seed)
        y = torch.randint(classes, (n,), generator=rng) if labels is None else labels
        logits = torch.randn(n, classes, generator=rng)
        logits[torch.arange(n), y] += skill
        return Outputs(logits, y)

    return outputs
