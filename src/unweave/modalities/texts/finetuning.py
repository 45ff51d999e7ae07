"""Fine-tune a model on the texts of a recipe once, and keep what moved: the original, and the retrained reference."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from unweave.arguments import SEEDS, fault
from unweave.errors import ConfigurationError
from unweave.modalities.texts.data import TextRows
from unweave.modalities.texts.training import fit
from unweave.store import atomically, cache_folder, tensors_sha256
from unweave.watch import Watch, silent

VERSION = 1
"""Part of every fingerprint: raise it when a change of this file or of `fit` changes the weights it gives."""


@dataclass(frozen=True)
class Finetuning:
    """How a recipe's `model.base` learns the data: AdamW without weight decay, on what may move of it.

    Args:
        epochs: passes over the texts.
        batch: texts in a step.
        lr: the highest learning rate, from a tenth to half of the steps; then straight to 0.
        seed: of the order.

    Raises:
        ConfigurationError: numbers out of range, all of them at once.
    """

    epochs: int = 5
    batch: int = 16
    lr: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = {"epochs": self.epochs, "batch": self.batch, "lr": self.lr}
        faults = [f"training.{name} must be above 0, found {n}" for name, n in numbers.items() if not n > 0]
        faults += [f"training.{text}" for text in [fault("seed", self.seed, int, SEEDS)] if text]
        if faults:
            raise ConfigurationError(faults)


def finetuned(
    model: nn.Module, rows: TextRows, how: Finetuning, phase: str, watch: Watch = silent, cache: Path | None = None
) -> float:
    """Fine-tunes the model in place on the rows; what moved is read from the cache if the same was done before.

    Args:
        model: what may move of it requires a gradient.
        rows: exactly what it is to learn.
        how: the training.
        phase: what `watch` is told.
        watch: told about every epoch.
        cache: folder; None is `models` in the user's cache folder.

    Returns:
        How many seconds the training took, when it was done.
    """
    path, about = _place(model, rows, how, cache)
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    watch(phase, 0, how.epochs)
    if (found := _read(path)) is None:
        begin = time.perf_counter()
        fit(model, rows, **asdict(how), watch=lambda _, done, total: watch(phase, done, total))
        content = save({name: p.detach().cpu().contiguous() for name, p in weights.items()})
        seconds = time.perf_counter() - begin
        about |= {"seconds": seconds, "sha256": hashlib.sha256(content).hexdigest()}
        atomically(path, content)
        atomically(path.with_suffix(".json"), json.dumps(about, indent=2, sort_keys=True).encode())
    else:
        kept, seconds = found
        with torch.no_grad():
            for name, p in weights.items():
                p.copy_(kept[name])
    watch(phase, how.epochs, how.epochs)
    model.eval()
    return seconds


def _place(model: nn.Module, rows: TextRows, how: Finetuning, cache: Path | None) -> tuple[Path, dict[str, Any]]:
    moving = sorted(name for name, p in model.named_parameters() if p.requires_grad)
    about = {
        "version": VERSION,
        "model": tensors_sha256(model.state_dict()),
        "moving": hashlib.sha256("\n".join(moving).encode()).hexdigest(),
        "data": rows.fingerprint(),
        "training": asdict(how),
    }
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    return (cache or cache_folder("models")) / f"{name}.safetensors", about


def _read(path: Path) -> tuple[dict[str, Tensor], float] | None:
    """The weights and the seconds, if they are there and whole; damaged ones are trained again."""
    try:
        about = json.loads(path.with_suffix(".json").read_text())
        if hashlib.sha256(path.read_bytes()).hexdigest() == about["sha256"]:
            return load_file(path), float(about["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None
