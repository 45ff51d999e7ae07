"""A table, or a factory's data, that is another one when a model of it is opened again."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

import pytest

from tests.modalities.records._tables import RECIPE, command, written
from unweave.ledger import Ledger
from unweave.ledger.certificate import text
from unweave.modalities import job, read
from unweave.modalities.records.job import RecordsJob

pytestmark = pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
Told = pytest.CaptureFixture[str]
ASKED = next(line for line in RECIPE.splitlines() if line.startswith("forget")) + "\n"
SHORT = ("-s", "run.steps=2", "-s", "evaluation.retrained=0", "-s", "training.epochs=2")


def without(table: Path, ids: tuple[str, ...]) -> None:
    """The table when the rows of people were deleted."""
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith(ids)) + "\n")


def test_a_model_is_not_opened_on_another_table(tmp_path: Path, capsys: Told) -> None:
    """Means, spreads and a holdout that is drawn would be others: the model would be given other numbers, and would
    have been trained on people that count as unseen."""
    recipe, first = written(tmp_path), tmp_path / "first"
    assert command("run", recipe, "-o", first, *SHORT) in (0, 3)
    then = ("-s", f"model.weights={first}", "-s", "forget.where={customer: [C020, C021, C022]}")
    assert command("run", recipe, "-o", tmp_path / "same", *SHORT, *then) in (0, 3), capsys.readouterr().err
    without(tmp_path / "customers.csv", ("C000", "C001"))
    capsys.readouterr()
    assert command("run", recipe, "-o", tmp_path / "then", *SHORT, *then) == 2
    assert "another training set" in " ".join(capsys.readouterr().err.split())
    assert command("evaluate", first, "-s", "forget.where={customer: [C004, C005]}") == 2
    assert "another training set" in " ".join(capsys.readouterr().err.split())


def test_ids_that_were_looked_up_in_another_table_are_refused(tmp_path: Path, capsys: Told) -> None:
    """Their row numbers would be those of other people."""
    recipe, table = written(tmp_path, RECIPE.replace(ASKED, "")), tmp_path / "customers.csv"
    (tmp_path / "ids.txt").write_text("C020\nC021\n")
    ledger, now = ("--ledger", tmp_path / "ledger"), table.read_text()
    without(table, ("C000", "C001"))
    looked = ("--ids", tmp_path / "ids.txt", "--of", table, "--column", "customer", *ledger)
    assert command("requests", "add", "R-1", *looked) == 0
    table.write_text(now)
    capsys.readouterr()
    assert command("requests", "run", recipe, *ledger) == 2
    assert "request R-1: its ids were looked up in another table" in " ".join(capsys.readouterr().err.split())
    assert command("requests", "add", "R-2", *looked) == 0
    assert command("requests", "run", recipe, "--only", "R-2", *ledger, *SHORT) in (0, 3), capsys.readouterr().err


def test_a_certificate_counts_what_was_named_and_what_was_never_trained_on(tmp_path: Path, capsys: Told) -> None:
    split = RECIPE.replace("drop: [spend, set]", "drop: [spend], split: set").replace(ASKED, "")
    recipe, ledger = written(tmp_path, split), tmp_path / "ledger"
    (tmp_path / "ids.txt").write_text("C000\nC001\nC003\n")
    asked = ("--ids", tmp_path / "ids.txt", "--of", tmp_path / "customers.csv", "--column", "customer")
    assert command("requests", "add", "R-1", *asked, "--ledger", ledger) == 0
    assert command("requests", "run", recipe, "--ledger", ledger, *SHORT) in (0, 3), capsys.readouterr().err
    outcome = Ledger(ledger).read()[1].requests["R-1"].outcome
    assert outcome is not None
    told = outcome.body["records"]
    assert (told["named"], told["ids"], told["count"], told["untrained"]) == (6, 3, 4, 2), "C003 is in the holdout"
    said = text(outcome, ())
    assert "4 (of 6 named by 3 ids; on 2 of them no model was trained)" in said
    assert "of 6 named by 3 ids; on 2 of them the model was never trained" in said


AMOUNT = ["data.target=spend", "data.drop=[set, left]", "training.epochs=3"]
NETWORK = """\
import torch
from torch import nn
from torch.utils.data import TensorDataset

import layers_of_mine

ONE = nn.Linear(4, 2)


def data():
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x[:, 0] > 0).long())


def network():
    return layers_of_mine.Net()


def once():
    return ONE
"""
LAYERS = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(torch.relu(self.hidden(x)))
"""
FACTORIES = """\
data: {factory: "own.py:data"}
model: {factory: "own.py:network"}
forget: {random: 0.1}
training: {epochs: 2}
run: {steps: 2}
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own.py").write_text(NETWORK + f"# {tmp_path}\n")
    (tmp_path / "layers_of_mine.py").write_text(LAYERS)
    (tmp_path / "recipe.yaml").write_text(FACTORIES)
    return tmp_path / "recipe.yaml"


@pytest.mark.parametrize("change", [("8", "12"), ("relu", "tanh")])
def test_a_network_that_was_changed_where_it_is_imported_from_is_trained_anew(
    factories: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str]
) -> None:
    trained = job(read(factories))
    before = trained.opened(None).state_dict()
    (factories.parent / "layers_of_mine.py").write_text(LAYERS.replace(*change))
    for name in [name for name in sys.modules if name == "layers_of_mine" or name.startswith("unweave_own_")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    shutil.rmtree(factories.parent / "__pycache__", ignore_errors=True)
    now = job(read(factories)).opened(None).state_dict()
    assert any(before[name].shape != each.shape or not before[name].equal(each) for name, each in now.items())


def test_a_factory_that_gives_one_network_twice_is_refused(factories: Path, tmp_path: Path, capsys: Told) -> None:
    once = ("-s", "model.factory=own.py:once")
    assert command("run", factories, "-o", tmp_path / "out", *once) == 2
    assert "had returned before" in " ".join(capsys.readouterr().err.split())


def test_a_scale_that_a_run_wrote_down_changes_no_training(tmp_path: Path) -> None:
    """The recipe in its folder trains the same original: resumed, scored and attacked are models of one training."""
    recipe = read(written(tmp_path), AMOUNT)
    made = job(recipe)
    assert isinstance(made, RecordsJob)
    scale = f"task={{name: regression, scale: {made.task.scale!r}}}"  # type: ignore[attr-defined]
    again = job(read(tmp_path / "recipe.yaml", [*AMOUNT, scale]))
    assert isinstance(again, RecordsJob) and again.task == made.task
    assert again.trainer.task == made.trainer.task
