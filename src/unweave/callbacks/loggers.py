"""Ready callbacks that write a run's numbers to TensorBoard, MLflow or Weights & Biases.

Each writes, in the process of rank 0 alone, `Record.numbers` of every step and `Waypoint.numbers` of every reading over
the number of the step, under "unweave/"; and at the end what came of the run. Each needs a package that unweave does
not bring, and says so before anything is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unweave.contract.reading import NONE, Waypoint
from unweave.errors import ConfigurationError
from unweave.execution import rank
from unweave.extras import needed
from unweave.results import Record, Result

if TYPE_CHECKING:
    from unweave.objectives import Objectives

PREFIX = "unweave/"


@dataclass
class TensorBoard:
    """Writes event files: `tensorboard --logdir FOLDER`.

    A run into a folder that has one goes on after it, from its own first step: what is there of later steps is set
    aside.

    Args:
        folder: where to; None is a new one, "runs/" and the time, as of torch's `SummaryWriter`.

    Raises:
        ConfigurationError: the folder is a file.
        UnsupportedError: tensorboard is not installed.
    """

    folder: str | Path | None = None
    _writer: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._made = needed("torch.utils.tensorboard", "tensorboard").SummaryWriter
        if self.folder is not None and Path(self.folder).is_file():
            raise ConfigurationError(f"TensorBoard: {self.folder}: expected a folder to write to, found a file")

    def on_step(self, record: Record, objectives: Objectives) -> None:
        """Its numbers."""
        self._write(record.numbers, record.number)

    def on_reading(self, reading: Waypoint) -> None:
        """Its numbers."""
        self._write(reading.numbers, reading.step)

    def on_end(self, result: Result) -> None:
        """The result as it is printed."""
        if rank() == 0:
            writer = self._open(0)
            writer.add_text(PREFIX + "result", "\n".join(f"    {line}" for line in str(result).splitlines()))
            writer.close()
            self._writer = None

    def _write(self, numbers: Mapping[str, float], step: int) -> None:
        if rank() == 0:
            writer = self._open(step)
            for name, value in numbers.items():
                writer.add_scalar(PREFIX + name, value, step)

    def _open(self, step: int) -> Any:
        if self._writer is None:
            self._writer = self._made(
                log_dir=None if self.folder is None else str(self.folder), purge_step=step or None
            )
        return self._writer


@dataclass
class MLflow:
    """Logs metrics, and at the end the state of the contract and the reason as tags.

    In the run that is active, or in one of its own, which it ends with the result; an error leaves it open.

    Raises:
        UnsupportedError: mlflow is not installed.
    """

    _own: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self._mlflow: Any = needed("mlflow", "mlflow")

    def on_step(self, record: Record, objectives: Objectives) -> None:
        """Its numbers."""
        self._write(record.numbers, record.number)

    def on_reading(self, reading: Waypoint) -> None:
        """Its numbers."""
        self._write(reading.numbers, reading.step)

    def on_end(self, result: Result) -> None:
        """What came of the run."""
        if rank() == 0:
            self._open()
            self._mlflow.set_tags(_prefixed(ended(result)))
            if self._own:
                self._mlflow.end_run()
                self._own = False

    def _write(self, numbers: Mapping[str, float], step: int) -> None:
        if rank() == 0:
            self._open()
            self._mlflow.log_metrics(_prefixed(numbers), step=step)

    def _open(self) -> None:
        if self._mlflow.active_run() is None:
            self._mlflow.start_run()
            self._own = True


@dataclass
class WandB:
    """Logs to Weights & Biases, over "unweave/step", and at the end a summary.

    In the run that is active, or in one of its own, which it finishes.

    Args:
        project: of a run of its own.

    Raises:
        UnsupportedError: wandb is not installed.
    """

    project: str = "unweave"
    _run: Any = field(default=None, init=False, repr=False)
    _own: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self._wandb: Any = needed("wandb", "wandb")

    def on_step(self, record: Record, objectives: Objectives) -> None:
        """Its numbers."""
        self._write(record.numbers, record.number)

    def on_reading(self, reading: Waypoint) -> None:
        """Its numbers."""
        self._write(reading.numbers, reading.step)

    def on_end(self, result: Result) -> None:
        """What came of the run."""
        if rank() == 0:
            self._open().summary.update(_prefixed(ended(result)))
            if self._own:
                self._run.finish()
            self._run, self._own = None, False

    def _write(self, numbers: Mapping[str, float], step: int) -> None:
        if rank() == 0:
            self._open().log(_prefixed({"step": step, **numbers}))

    def _open(self) -> Any:
        if self._run is None:
            self._own = self._wandb.run is None
            self._run = self._wandb.init(project=self.project) if self._own else self._wandb.run
            self._run.define_metric(PREFIX + "*", step_metric=PREFIX + "step")
        return self._run


def ended(result: Result) -> dict[str, str]:
    """What came of a run, in words: the state of its contract, and why it ended."""
    return {"contract": NONE if result.contract is None else result.contract.headline, "reason": result.reason}


def _prefixed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {PREFIX + name: value for name, value in values.items()}
