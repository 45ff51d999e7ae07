"""The one place where a run writes: new, or its own, never somebody else's."""

from __future__ import annotations

import shutil
from pathlib import Path

import safetensors.torch
from torch import nn

from unweave.data.cache import atomically
from unweave.errors import ConfigurationError

FILES = {"recipe.yaml", "steps.jsonl", "checkpoint", "model", "scores.json", "summary.json", "report.html"}


def check(directory: Path, resume: bool, overwrite: bool) -> None:
    """Refuses a directory that a run would spoil, or that holds nothing to resume.

    Raises:
        ConfigurationError: not empty, without a checkpoint, or not a run's.
    """
    found = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if directory.exists() and not directory.is_dir():
        raise ConfigurationError(f"{directory}: expected a directory to write to, found a file")
    if resume:
        if "checkpoint" not in found:
            raise ConfigurationError(f"{directory}: no checkpoint to resume from; start the run without --resume")
    elif found and not overwrite:
        raise ConfigurationError(
            f"{directory} is not empty: --resume its run, --overwrite it, or choose another --output"
        )
    elif strange := sorted(name for name in found - FILES if not name.startswith(".")):
        raise ConfigurationError(
            f"{directory} holds more than a run ({', '.join(strange[:3])}): choose another --output"
        )


def clear(directory: Path) -> None:
    """Makes the directory, or empties it."""
    for path in directory.iterdir() if directory.is_dir() else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    directory.mkdir(parents=True, exist_ok=True)


def save(model: nn.Module, folder: Path) -> None:
    """Writes `model.safetensors`, the state dict of the model."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    atomically(folder / "model.safetensors", safetensors.torch.save(tensors))
