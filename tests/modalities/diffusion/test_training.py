"""Training is done once, depends on nothing but what it says, and is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.modalities.diffusion._pictures import TINY
from unweave.errors import ConfigurationError
from unweave.modalities.diffusion.data import Conditioned
from unweave.modalities.diffusion.networks import unet
from unweave.modalities.diffusion.training import Training, seconds_spent, trained
from unweave.store import tensors_sha256
from unweave.tasks import Diffusion

HOW = replace(TINY, steps=30)
NETWORK = unet(2, (1, 8, 8), (8,), HOW)
TASK = Diffusion(NETWORK.schedule, null=2, dropout=0.1)


def data(shift: float = 0.0) -> Conditioned:
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    x = 0.1 * torch.randn(40, 1, 8, 8, generator=draws) + (2 * labels - 1).view(-1, 1, 1, 1) * 0.5 + shift
    return Conditioned(x, labels)


def made(cache: Path, how: Training = HOW, of: Conditioned | None = None, told: list[int] | None = None) -> str:
    watch = (lambda phase, done, total: None) if told is None else lambda phase, done, total: told.append(done)
    model = trained(NETWORK.build(how.seed), NETWORK.about(), TASK, of or data(), how, "training", watch, cache)
    return tensors_sha256(model.state_dict())


def test_the_same_training_is_done_once(tmp_path: Path) -> None:
    assert seconds_spent(NETWORK.about(), data(), HOW, tmp_path) is None
    state = torch.random.get_rng_state()
    first = made(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state), "the global random state is as it was"
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == 2 and (seconds_spent(NETWORK.about(), data(), HOW, tmp_path) or 0) > 0
    torch.manual_seed(5)
    assert made(tmp_path) == first == made(tmp_path / "elsewhere"), "whatever was drawn before"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.is_file()} == files


@pytest.mark.slow
def test_another_seed_other_data_or_another_length_is_another_model(tmp_path: Path) -> None:
    found = {made(tmp_path, replace(HOW, seed=seed, steps=steps)) for seed in (0, 1) for steps in (20, 30)}
    assert len({*found, made(tmp_path, of=data(0.1))}) == 5


def test_it_learns_and_says_how_far_it_is(tmp_path: Path) -> None:
    told: list[int] = []
    model = NETWORK.build()
    batch = data().batch(range(40))
    loss = replace(TASK, looks=8)
    torch.manual_seed(0)
    before = float(loss.nll(model, batch).mean().detach())
    trained(
        model,
        NETWORK.about(),
        TASK,
        data(),
        replace(HOW, steps=120),
        watch=lambda *at: told.append(at[1]),
        cache=tmp_path,
    )
    assert not model.training and float(loss.nll(model, batch).mean().detach()) < 0.5 * before
    assert told == [0, 50, 100, 120]


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Training(steps=0, batch=0, lr=0, dropout=1, ema=1, timesteps=1, seed=-1)
    assert len(refused.value.faults) == 7
    with pytest.raises(ConfigurationError, match="training diverged"):
        made(tmp_path, replace(HOW, lr=1e12))
