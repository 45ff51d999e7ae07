"""Callbacks: what looks on while a run goes (`Callback`), and ready ones that write its numbers elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from unweave.callbacks._base import Callback, OnEnd, OnReading, OnStep, Told, listeners
from unweave.callbacks.loggers import MLflow, TensorBoard, WandB
from unweave.callbacks.watched import UNLEARNING, Watched

LOGGERS: dict[str, Callable[[Path], Callback]] = {
    "tensorboard": lambda folder: TensorBoard(folder / "tensorboard"),
    "mlflow": lambda folder: MLflow(),
    "wandb": lambda folder: WandB(),
}
"""What a recipe can name; each is made of the run's directory."""


def chosen(names: Sequence[str], folder: Path) -> list[Callback]:
    """Those of these names.

    Raises:
        UnsupportedError: the package of one is not installed.
    """
    return [LOGGERS[name](folder) for name in dict.fromkeys(names)]


__all__ = [
    "LOGGERS",
    "UNLEARNING",
    "Callback",
    "MLflow",
    "OnEnd",
    "OnReading",
    "OnStep",
    "TensorBoard",
    "Told",
    "WandB",
    "Watched",
    "chosen",
    "listeners",
]
