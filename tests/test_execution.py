"""What accelerate could be set to and would silently spoil a gradient is refused, with what to use instead."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from unweave.data.draws import kept_streams
from unweave.data.pairs import Pairs
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


def test_python_and_numpy_draw_as_torch_does() -> None:
    """A forward, or a data set, that draws with them is the same at every look."""
    states = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    drawn = []
    for key in ((1, 2), (1, 2), (2, 1)):
        with seeded(*key):
            drawn.append((random.random(), np.random.rand()))
    assert drawn[0] == drawn[1] and drawn[0][0] != drawn[2][0] and drawn[0][1] != drawn[2][1]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # type: ignore[union-attr]


def test_around_several_looks_the_streams_are_kept_once_and_each_look_draws_the_same() -> None:
    """Also one that seeds again inside, and goes on afterwards where it was."""

    def look() -> list[float]:
        with seeded(1):
            drawn = [random.random(), np.random.rand()]
            with seeded(2):
                drawn += [random.random(), np.random.randn()]
            return [*drawn, random.random(), np.random.randn()]

    expected = look()
    np.random.randn()  # the second of a pair of normal numbers is kept inside
    states = random.getstate(), np.random.get_state()
    with kept_streams():
        assert look() == look() == expected
    assert random.getstate() == states[0] and str(np.random.get_state()) == str(states[1])


class Noisy(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * np.random.rand() + random.random()


def test_a_forward_that_draws_with_numpy_is_the_same_at_every_look() -> None:
    data = TensorDataset(torch.randn(8, 3), torch.zeros(8).long())
    task = Vision()
    at = Objectives(Noisy(3, 2), (task.nll, task.nll)).at(next(iter(Pairs(data, data))))
    assert at.losses().equal(at.losses())


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
