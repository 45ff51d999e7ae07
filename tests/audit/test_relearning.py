"""Relearning on a toy: what was only hidden comes back, a model that never knew shows nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from unweave.audit.evidence_parts.robustness import relearning_part
from unweave.audit.robustness import Curve, Relearning, half_life, relearn
from unweave.errors import ConfigurationError
from unweave.modalities.images.tensors import TensorImages
from unweave.tasks import Vision

SHIFT = 0.6  # eight examples do not show it, four hundred do
HOW = Relearning(steps=(0, 1, 3, 10, 30), lr=0.01, batch=16)


def images(n: int, seed: int, shift: float) -> TensorImages:
    """Class 1 around `shift` in every pixel, class 0 around 0."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    pixels = torch.randn(n, 1, 4, 4, generator=generator) + shift * labels[:, None, None, None]
    return TensorImages(pixels, labels)


def model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2))


def taught(seed: int) -> nn.Module:
    made, data = model(seed), images(400, 9, SHIFT)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(data.images), data.labels).backward()
        optimizer.step()
    return made


def hidden(known: nn.Module) -> nn.Module:
    """Nothing is forgotten: only the last layer is faint."""
    made = copy.deepcopy(known)
    with torch.no_grad():
        made[3].weight *= 0.2  # type: ignore[index]
        made[3].bias *= 0.2  # type: ignore[index]
    return made


def relearned(unlearned: list[nn.Module]) -> dict[str, Any]:
    """The forget set is class 1 against 0; given are 8 of its examples."""
    forget = images(80, 5, SHIFT)
    part, rest = forget.subset(range(8)), forget.subset(range(8, 80))
    kinds = {
        "original": [taught(s) for s in range(3)],
        "retrained": [model(s) for s in range(10, 13)],
        "unlearned": unlearned,
    }
    curves = {k: [relearn(m, Vision(), part, rest, HOW) for m in models] for k, models in kinds.items()}
    return relearning_part("forget", "a few", 8, 72, curves)


def test_what_was_hidden_comes_back() -> None:
    part = relearned([hidden(taught(s)) for s in range(20, 23)])
    share = part["recovered"]
    assert share["value"] is not None and share["low"] > 0 and share["p"] < 0.05
    lives = {kind: part["half_life"][kind]["median"] for kind in part["half_life"]}
    assert lives["original"] == 0 and lives["unlearned"] is not None
    assert lives["retrained"] is None or lives["unlearned"] < lives["retrained"]


def test_a_model_that_never_knew_shows_nothing() -> None:
    share = relearned([model(s) for s in range(30, 33)])["recovered"]
    assert share["p"] > 0.05
    assert share["low"] < 0 < share["high"]


def test_the_attacked_model_stays_and_the_seed_decides() -> None:
    made, data = taught(0), images(40, 1, 2.0)
    before = copy.deepcopy(made.state_dict())
    first = relearn(made, Vision(), data, data, HOW)
    torch.manual_seed(5)
    assert relearn(made, Vision(), data, data, HOW) == first
    assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())
    assert made.training and len(first.confidence) == len(first.accuracy) == 5
    assert first.level == pytest.approx(sum(first.confidence[1:]) / 4)


def test_longer_grids_pass_through_the_same_points() -> None:
    """Scoring on the way changes nothing: the state after 10 steps is the state after 10 steps."""
    made, data = model(0), images(40, 1, 2.0)
    long = relearn(made, Vision(), data, data, Relearning((0, 1, 2, 3, 5, 10), 0.01, 16))
    short = relearn(made, Vision(), data, data, Relearning((0, 10), 0.01, 16))
    assert long.confidence[-1] == short.confidence[-1] and long.confidence[0] == short.confidence[0]


def test_half_life_by_hand() -> None:
    cases = [
        ((0, 1, 2), (0.0, 0.5, 1.0), 0.25, 0.5),
        ((0, 2, 10), (0.0, 0.0, 1.0), 0.5, 6.0),
        ((0, 1, 2), (0.8, 0.1, 0.1), 0.5, 0.0),
        ((0, 1, 2), (0.0, 0.1, 0.2), 0.5, None),
        ((0, 1, 2), (0.0, 0.5, 0.5), 0.5, 1.0),
    ]
    for steps, values, halfway, expected in cases:
        assert half_life(steps, values, halfway) == pytest.approx(expected)
    assert len(cases) == 5


def test_a_run_that_never_gets_there_is_no_number() -> None:
    low, high = Curve((0, 1), (0.0, 0.1), (0.0, 0.0)), Curve((0, 1), (1.0, 1.0), (1.0, 1.0))
    part = relearning_part(
        "forget", "t", 1, 1, {"original": [high] * 3, "retrained": [low] * 3, "unlearned": [low] * 3}
    )
    life = part["half_life"]["unlearned"]
    assert life == {"runs": [None, None, None], "median": None, "beyond": 1}


def test_bad_input() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Relearning(steps=(1, 2), lr=0, batch=0, share=1)
    assert len(caught.value.faults) == 4
    with pytest.raises(ConfigurationError, match="found 0 and 40"):
        relearn(model(0), Vision(), images(0, 0, 1.0), images(40, 0, 1.0), HOW)
