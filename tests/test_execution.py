"""What accelerate could be set to and would silently spoil a gradient is refused, with what to use instead."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from unweave.errors import UnsupportedError
from unweave.execution import seeded
from unweave.objectives import Objectives
from unweave.tasks import Vision

SOUND: dict[str, Any] = {
    **{"prepare": print, "backward": print},
    "scaler": None,
    "mixed_precision": "bf16",
    "distributed_type": SimpleNamespace(value="NO"),
    "gradient_accumulation_steps": 1,
}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"mixed_precision": "fp16"}, "fp16 scales gradients.* Use mixed_precision='bf16' or 'no'"),
        ({"scaler": object()}, "fp16 scales gradients"),
        ({"distributed_type": SimpleNamespace(value="DEEPSPEED")}, "DeepSpeed hides gradients. Use DDP or FSDP2"),
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps is 4; leave it at 1 and let a pair"),
    ],
)
def test_what_accelerate_would_spoil_is_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        Objectives(nn.Linear(2, 2), (None, Vision().nll), SimpleNamespace(**{**SOUND, **setting}))
    Objectives(nn.Linear(2, 2), (None, Vision().nll), SimpleNamespace(**SOUND))


def test_the_same_key_gives_the_same_draws_and_nothing_is_left_outside() -> None:
    state = torch.random.get_rng_state()
    draws = []
    for key in ((1, 2), (1, 2), (2, 1), (1, 2, 0), (1,), (-1,)):
        with seeded(*key):
            draws.append(torch.rand(3))
    assert draws[0].equal(draws[1])
    assert all(not draws[0].equal(d) for d in draws[2:]) and not draws[4].equal(draws[5])
    with pytest.raises(ZeroDivisionError), seeded(1):
        torch.rand(3)
        raise ZeroDivisionError
    assert torch.random.get_rng_state().equal(state)
