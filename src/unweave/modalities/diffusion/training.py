"""A diffusion model trained on images and their classes (the original, or a retrained one): once, and kept."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unweave.arguments import SEEDS, fault
from unweave.data.protocol import Examples
from unweave.errors import ConfigurationError
from unweave.store import keep_tensors, kept_about, kept_tensors, place_of
from unweave.tasks import Diffusion
from unweave.watch import Watch, silent

VERSION = 2
"""Part of every fingerprint: raise it when a change of this file changes the weights it gives."""
LONG = 1000  # timesteps of the usual schedule
_TOLD = 50  # steps between two words on how far it is


@dataclass(frozen=True)
class Training:
    """How a denoiser is trained: Adam, the learning rate down half a cosine; the weights that count are the averaged.

    Args:
        steps: of Adam.
        batch: images in a step.
        lr: at the first step.
        dropout: share of conditions that are replaced by none, for classifier-free guidance.
        ema: what an average keeps of itself at each step.
        timesteps: T, of a linear schedule from 1e-4 to .02, both times 1000 / T: its end is noise whatever T is.
        seed: of the initial weights, the order of the data, timesteps and noise.

    Raises:
        ConfigurationError: numbers out of range, all of them at once.
    """

    steps: int = 1500
    batch: int = 64
    lr: float = 2e-3
    dropout: float = 0.1
    ema: float = 0.995
    timesteps: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        faults = [
            f"training.{name} must be {wanted}, found {getattr(self, name)}"
            for name, wanted, met in (
                ("steps", "at least 1", self.steps >= 1),
                ("batch", "at least 1", self.batch >= 1),
                ("lr", "above 0", self.lr > 0),
                ("dropout", "at least 0 and below 1", 0 <= self.dropout < 1),
                ("ema", "at least 0 and below 1", 0 <= self.ema < 1),
                ("timesteps", "at least 25", self.timesteps >= 25),
                ("seed", f"in {SEEDS}", not fault("seed", self.seed, int, SEEDS)),
            )
            if not met
        ]
        if faults:
            raise ConfigurationError(faults)

    def examples(self, count: int) -> int:
        """That a training goes through, of a set of so many."""
        return self.steps * self.batch


def known(how: Training | None) -> Training:
    """How models are trained.

    Raises:
        ConfigurationError: nobody knows.
    """
    if how is None:
        raise ConfigurationError(
            "training: nobody says how the model in model.weights was trained, so that others like it cannot be: give "
            "the recipe a training section"
        )
    return how


def train(
    model: nn.Module, task: Diffusion, data: Examples, how: Training, phase: str = "training", watch: Watch = silent
) -> nn.Module:
    """Trains the model in place, and returns it in eval mode with the averaged weights.

    The global random state is left as it was, and the result does not depend on it.

    Args:
        model: the denoiser.
        task: what it does, with the share of conditions that are dropped.
        data: exactly what it is to learn.
        how: the training.
        phase: what `watch` is told.
        watch: told every 50 steps.

    Raises:
        ConfigurationError: a loss that stopped being finite.
    """
    count = len(data)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(model.parameters(), how.lr)
    average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        model.train()
        module: Any
        for module in model.modules():
            if hasattr(module, "token_drop"):  # a DiT of diffusers drops conditions by itself: here the task does
                module.dropout_prob = 0.0
        for step in range(how.steps):
            rows = torch.randint(count, (how.batch,))
            batch = {name: tensor.to(device) for name, tensor in data.batch(rows).items()}
            loss = task.nll(model, batch).mean()
            if not bool(loss.isfinite()):
                raise ConfigurationError(f"training diverged in step {step + 1} (loss {loss}): lower lr={how.lr}")
            optimizer.param_groups[0]["lr"] = how.lr * (1 + math.cos(math.pi * step / how.steps)) / 2
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            kept = min(how.ema, (step + 1) / (step + 10))  # the first steps say nothing of what is to come
            for name, tensor in model.state_dict().items():
                if tensor.is_floating_point():
                    average[name].lerp_(tensor.detach(), 1 - kept)
            if (step + 1) % _TOLD == 0:
                watch(phase, step + 1, how.steps)
    model.load_state_dict(average)
    model.zero_grad(set_to_none=True)
    return model.eval()


def about(network: Mapping[str, Any], data: Examples, how: Training) -> dict[str, Any]:
    """Everything that decides a model's weights."""
    return {"version": VERSION, "network": dict(network), "training": asdict(how), "data": data.fingerprint()}


def trained(
    model: nn.Module,
    network: Mapping[str, Any],
    task: Diffusion,
    data: Examples,
    how: Training,
    phase: str = "training",
    watch: Watch = silent,
    cache: Path | None = None,
) -> nn.Module:
    """The model trained on the data, read from the cache if the same training was done before.

    Args:
        model: untrained, of `how.seed`.
        network: what it is, as plain data.
        task, data, how, phase, watch: as of `train`.
        cache: folder; None means `models` in the user's cache folder.
    """
    decided = about(network, data, how)
    path = place_of(decided, cache)
    watch(phase, 0, how.steps)
    if (weights := kept_tensors(path)) is None:
        start = time.perf_counter()
        train(model, task, data, how, phase, watch)
        keep_tensors(path, model.state_dict(), decided | {"seconds": time.perf_counter() - start})
    else:
        model.load_state_dict(weights)
    watch(phase, how.steps, how.steps)
    return model.eval()


def record(
    network: Mapping[str, Any], data: Examples, how: Training, cache: Path | None = None
) -> Mapping[str, Any] | None:
    """What the cache notes of a trained model, `seconds` and the `sha256` of its file included; None without one."""
    noted = kept_about(place_of(about(network, data, how), cache))
    return noted if noted is not None and "seconds" in noted else None


def seconds_spent(network: Mapping[str, Any], data: Examples, how: Training, cache: Path | None = None) -> float | None:
    """How long the training took whose model the cache keeps; None if it keeps none."""
    noted = record(network, data, how, cache)
    return None if noted is None else float(noted["seconds"])
