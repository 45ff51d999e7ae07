"""TensorBoard, read back from its files; MLflow and Weights & Biases against stand-ins that note what they are told."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import unweave
from tests._toys import memorised
from unweave import Contract, Forget, Keep, Result, UnsupportedError
from unweave.callbacks import LOGGERS, MLflow, TensorBoard, WandB


def carried_out(*callbacks: Any) -> Result:
    model, forget, retain = memorised()
    contract = Contract(keep=[Keep("accuracy", absolute=0.2)], forget=[Forget("accuracy", at_most=0.5)])
    return unweave.unlearn(model, forget=forget, retain=retain, contract=contract, callbacks=callbacks)


def curves(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder)).Reload()
    return {tag: {each.step: each.value for each in read.Scalars(tag)} for tag in read.Tags()["scalars"]}


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    result = carried_out(TensorBoard(tmp_path / "logs"))
    found = curves(tmp_path / "logs")
    assert set(found["unweave/retain_objective"]) == {record.number for record in result.history}
    for record in result.history:
        assert found["unweave/lr"][record.number] == pytest.approx(record.lr, rel=1e-6)
    assert found["unweave/forgotten"] == {point.step: pytest.approx(point.forgotten) for point in result.path}
    assert len({point.step for point in result.path}) == 4 and result.steps == 8


class Noted:
    """A module that notes what it is told."""

    def __init__(self, active: bool) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.run: Any = self if active else None
        self.summary = self

    def active_run(self) -> Any:
        return self.run

    def start_run(self) -> None:
        self.run = self
        self.told.append(("begun",))

    def end_run(self) -> None:
        self.told.append(("ended",))

    def init(self, project: str) -> Any:
        self.told.append(("begun", project))
        return self

    def finish(self) -> None:
        self.told.append(("ended",))

    def define_metric(self, name: str, step_metric: str) -> None:
        assert (name, step_metric) == ("unweave/*", "unweave/step")

    def log(self, values: dict[str, float]) -> None:
        self.told.append((values["unweave/step"], values))

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        self.told.append((step, values))

    def set_tags(self, values: dict[str, str]) -> None:
        self.told.append(("said", values))

    update = set_tags


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize(("name", "logger"), [("mlflow", MLflow), ("wandb", WandB)])
def test_the_others(monkeypatch: pytest.MonkeyPatch, name: str, logger: type, active: bool) -> None:
    """A run of the caller's is used and left open; one of its own is begun and ended."""
    module = Noted(active)
    monkeypatch.setitem(sys.modules, name, module)
    result = carried_out(logger())
    steps = [told for told in module.told if isinstance(told[0], int)]
    assert [step for step, _ in steps] == [1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8], "a step, and every other one a reading"
    assert steps[0][1]["unweave/retain_objective"] == result.history[0].retain
    assert steps[-1][1]["unweave/budget_used"] == result.path[-1].used
    said = ("said", {"unweave/contract": "contract met", "unweave/reason": result.reason})
    assert module.told[-1 if active else -2] == said
    assert [told[0] for told in module.told if told[0] in ("begun", "ended")] == ([] if active else ["begun", "ended"])


@pytest.mark.parametrize(("name", "module"), [("mlflow", "mlflow"), ("wandb", "wandb")])
def test_a_package_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedError, match=f"pip install {module}$"):
        LOGGERS[name](tmp_path)


def test_tensorboard_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UnsupportedError, match=r"pip install tensorboard$"):
        TensorBoard()


def test_a_process_of_another_rank_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: Any = SimpleNamespace(SummaryWriter=None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", made)
    monkeypatch.setattr("unweave.callbacks.loggers.rank", lambda: 1)
    assert carried_out(TensorBoard(tmp_path / "logs")).steps == 8 and not (tmp_path / "logs").exists()


def test_a_file_is_no_folder_to_write_to(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "logs").write_text("mine")
    with pytest.raises(unweave.ConfigurationError, match="expected a folder to write to, found a file"):
        TensorBoard(tmp_path / "logs")
