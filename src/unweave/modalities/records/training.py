"""A model trained on records (the original, or one without the forget set): once, and kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import nn

from unweave.arguments import SEEDS, check_fields, natural
from unweave.errors import ConfigurationError, told
from unweave.modalities.records.data import Records
from unweave.modalities.records.networks import Network
from unweave.store import keep_tensors, kept_about, kept_tensors, place_of
from unweave.tasks import Task
from unweave.watch import Watch, silent

VERSION = 1
"""Part of every fingerprint: raise it when a change of this file changes the weights it gives."""
_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@dataclass(frozen=True)
class Training:
    """How a model is trained: the mean of the task's loss, on batches in random order, at one learning rate.

    Args:
        epochs: passes over the data.
        batch: examples per step.
        lr: learning rate.
        weight_decay: of the optimizer.
        optimizer: "adam", "adamw" or "sgd".
        seed: of the initial weights, the order of the data and dropout.

    Raises:
        ConfigurationError: numbers out of range, all of them at once.
    """

    epochs: int = 40
    batch: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.0
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, epochs=natural, batch=natural, lr="(0, inf)", weight_decay="[0, inf)", seed=SEEDS)

    def examples(self, count: int) -> int:
        """That a training goes through, of a set of so many."""
        return self.epochs * count


def train(
    model: nn.Module, data: Records, task: Task, how: Training, phase: str = "training", watch: Watch = silent
) -> nn.Module:
    """Trains the model in place and returns it in evaluation mode; the global random state stays as it was.

    Raises:
        ConfigurationError: no data, data that do not fit model or task, or a loss that stopped being finite.
    """
    if not len(data):
        raise ConfigurationError("the training set must hold at least one example, found 0: check the split")
    moving = [p for p in model.parameters() if p.requires_grad]
    if not moving:
        raise ConfigurationError("training: no parameter of the network has requires_grad, so none can be trained")
    optimizer: Any = _OPTIMIZERS[how.optimizer](moving, lr=how.lr, weight_decay=how.weight_decay)
    per_epoch = -(-len(data) // how.batch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        watch(phase, 0, how.epochs)
        for epoch in range(1, how.epochs + 1):
            model.train()
            summed = 0.0
            for rows in torch.randperm(len(data)).tensor_split(per_epoch):
                with told("training: the network does not run on the data"):
                    loss = task.nll(model, data.batch(rows)).mean()
                    optimizer.zero_grad()
                    loss.backward()
                optimizer.step()
                summed += loss.item() * len(rows)
            if not abs(summed) < float("inf"):
                raise ConfigurationError(_why(data, epoch, how))
            watch(phase, epoch, how.epochs)
    model.zero_grad(set_to_none=True)
    return model.eval()


def _why(data: Records, epoch: int, how: Training) -> str:
    """Why the loss is not finite any more: what is not finite in the data, or steps that are too long."""
    broken = [row for row in range(len(data)) if not data.digest(row)[1]]
    if not broken:
        return f"training diverged in epoch {epoch}: lower training.lr={how.lr}"
    return (
        f"training: {len(broken)} of {len(data)} examples hold NaN or infinity (first: row {data.numbers[broken[0]]}), "
        "and the loss is not finite there: mend them, or take them out"
    )


@dataclass(frozen=True, eq=False)
class Trainer:
    """A network, and how it is trained; models are kept in the user's cache by all that decides them.

    Attributes:
        network: before it has weights.
        task: whose loss it learns.
        how: settings.
        code: what the task was made by, where a factory made it.
    """

    network: Network
    task: Task
    how: Training
    code: Mapping[str, Any] = field(default_factory=dict)

    def model(self, data: Records, phase: str, watch: Watch = silent) -> nn.Module:
        """Trained on exactly these examples, or read from the cache."""
        about = self._about(data)
        place, model = place_of(about), self.network.build(self.how.seed)
        if (weights := kept_tensors(place)) is not None:
            model.load_state_dict(weights)
            return model.eval()
        start = time.perf_counter()
        train(model, data, self.task, self.how, phase, watch)
        spent = {"examples": len(data), "seconds": time.perf_counter() - start}
        keep_tensors(place, {name: each.clone() for name, each in model.state_dict().items()}, about | spent)
        return model

    def noted(self, data: Records) -> Mapping[str, Any] | None:
        """What the cache notes of that model, `seconds` and `sha256` included; None without one."""
        found = kept_about(place_of(self._about(data)))
        return found if found is not None and "seconds" in found else None

    def _about(self, data: Records) -> dict[str, Any]:
        return {
            "records": VERSION,
            "network": self.network.about(),
            "task": dict(self.code) or repr(self.task),
            "training": asdict(self.how),
            "data": data.fingerprint(),
        }


def from_elsewhere(weights: Path | None) -> bool:
    """Whether nobody here trained the model of these weights; what runs left is followed to where they began."""
    seen = set[Path]()
    while weights is not None and weights not in seen:
        seen.add(weights)
        try:
            before = _recipe_beside(weights)["model"]["weights"]
        except (TypeError, KeyError):
            return True
        weights = None if before is None else Path(before)
    return weights is not None


def trained_on(weights: Path | None) -> str | None:
    """SHA-256 of the training set, if a run left these weights and says so."""
    try:
        return None if weights is None else str(_recipe_beside(weights)["environment"]["data"]["train"])
    except (TypeError, KeyError):
        return None


def _recipe_beside(weights: Path) -> Any:
    """What the recipe of the run that left these weights holds; None of any others."""
    left = next((each for each in (weights, *weights.parents[:2]) if (each / "summary.json").is_file()), None)
    try:
        return None if left is None else yaml.safe_load((left / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
