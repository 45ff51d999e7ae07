"""Data sets, networks and tasks that a function makes: said, hashed, the same when resumed; and weights from files."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.modalities.records._tables import command, customers, result
from tests.run.test_resume import ended
from unweave.errors import ConfigurationError
from unweave.modalities import job, read
from unweave.modalities.records.factories import file_of
from unweave.modalities.records.job import RecordsJob
from unweave.modalities.records.recipe import Made
from unweave.run.runner import run
from unweave.tasks import Classification, MultiLabel, Regression

pytestmark = pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
Told = pytest.CaptureFixture[str]

OWN = """\
import os

import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from unweave.tasks import Classification

with open(__file__ + ".ran", "a") as log:
    log.write("once")


def drawn(count, first=0):
    generator = torch.Generator().manual_seed(first)
    x = torch.randn(count, 4, generator=generator)
    return x, (x[:, :3] + 0.5 * torch.randn(count, 3, generator=generator)).argmax(1)


def data(count=160, people=False):
    parts = {"train": TensorDataset(*drawn(count)), "holdout": TensorDataset(*drawn(80, 1))}
    return {**parts, "people": [f"p{row // 4}" for row in range(count)]} if people else tuple(parts.values())


def whole():
    return TensorDataset(*drawn(200))


class Dicts(Dataset):
    def __init__(self):
        self.x, self.y = drawn(160)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return {"x": self.x[row], "labels": (self.x[row, :2] > 0).long()}


class Takes(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x):
        return self.net(x)


class Noisy(Dicts):
    def __getitem__(self, row):
        return torch.randn(4), 0


def gaps():
    x, y = drawn(200)
    x[3] = float("nan")
    return TensorDataset(x, y)


def amounts():
    x, _ = drawn(200)
    return TensorDataset(x, 100 * x.sum(1))


def net(width=16, outputs=3, inputs=4):
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))


def odd():
    return "no module"


def leaves():
    raise SystemExit(3)


def moves():
    os.chdir("..")
    return whole()


def lazy():
    return nn.Sequential(nn.LazyLinear(3))


def nobodys():
    return {"train": whole(), "people": [None if row == 3 else row // 2 for row in range(200)]}


def listed():
    return {"train": whole(), "people": [[row] for row in range(200)]}


def broken():
    raise RuntimeError("out of luck")


def twice():
    found = whole()
    return found, found


def copied():
    return whole(), TensorDataset(*drawn(200)), TensorDataset(*drawn(80, 1))


def unknown():
    x, y = amounts().tensors
    y[57] = float("nan")
    return TensorDataset(x, y)


def places():
    x = torch.randn(200, 2, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    y[57] = -100
    return TensorDataset(x, y)


def line():
    return nn.Conv1d(2, 2, 1)


def task():
    return Classification()
"""
RECIPE = """\
data: {factory: "own.py:data", arguments: {people: true}}
forget: {where: {user: [p0, p1, p2, p3, p4, p5]}}
model: {factory: "own.py:net", arguments: {width: 24}}
training: {epochs: 20, lr: 0.01}
run: {steps: 4, forget_batch: 16, retain_batch: 64, checkpoint_every: 1}
"""


RANDOM = "forget={random: 0.1}"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


def opened(recipe: Path, *overrides: str) -> RecordsJob:
    found = job(read(recipe, overrides))
    assert isinstance(found, RecordsJob)
    return found


def ran(recipe: Path) -> int:
    """How often the user's file was executed."""
    log = recipe.parent / "own.py.ran"
    return log.read_text().count("once") if log.exists() else 0


def test_code_is_said_and_hashed_and_executed_once(recipe: Path, tmp_path: Path, capsys: Told) -> None:
    assert command("run", recipe, "-o", tmp_path / "out") in (0, 3)
    digest = hashlib.sha256(OWN.encode()).hexdigest()
    said = capsys.readouterr().err
    assert said.count(f"executing {tmp_path / 'own.py'} (SHA-256 {digest})") == 1 == ran(recipe)
    summary, again = result(tmp_path / "out"), read(tmp_path / "out" / "recipe.yaml")
    assert summary["request"] == "6 people, 24 rows" and summary["forget"] == 24
    assert again.data.sha256 == digest == again.model.sha256  # type: ignore[attr-defined]
    assert again.task.name == "classification"  # type: ignore[attr-defined]


def test_who_only_reads_executes_nothing(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("\n".join(map(str, range(24))))
    recipe.write_text("".join(line for line in RECIPE.splitlines(keepends=True) if not line.startswith("forget")))
    ledger = tmp_path / "ledger"
    assert command("requests", "add", "case-1", "--rows", tmp_path / "rows.txt", "--ledger", ledger) == 0
    assert command("requests", "run", recipe, "--ledger", ledger, "-s", "evaluation.retrained=0") in (0, 3)
    (tmp_path / "own.py").write_text("raise SystemExit('it was executed')\n")
    assert command("requests", "verify", "--ledger", ledger) == 0
    left = next((ledger / "runs").rglob("scores.json")).parent
    assert command("report", left) == 0 and read(left / "recipe.yaml") is not None
    assert command("evaluate", left) == 2, "and who scores it hears that the file is another"


def test_a_run_of_another_file_is_not_resumed(recipe: Path, tmp_path: Path, capsys: Told) -> None:
    recipe.write_text(RECIPE + "contract: none\n")
    ended(read(recipe), tmp_path / "out", "unlearning", done=2)
    (tmp_path / "own.py").write_text(OWN.replace("nn.ReLU()", "nn.Tanh()"))
    assert command("run", tmp_path / "out", "--resume") == 2
    assert "is not the file that the recipe was written for" in capsys.readouterr().err
    assert command("run", recipe, "-o", tmp_path / "out", "--resume") == 2
    assert "model.sha256 changed since the run began" in capsys.readouterr().err
    (tmp_path / "own.py").write_text(OWN)
    assert command("run", recipe, "-o", tmp_path / "out", "--resume") in (0, 3)


@pytest.mark.parametrize(
    ("overrides", "task"),
    [
        ((), Classification),
        (("task={factory: 'own.py:task'}",), Classification),
        (("data={factory: 'own.py:Dicts'}", "model={factory: 'own.py:Takes'}", "forget={random: 0.1}"), MultiLabel),
        (("data={factory: 'own.py:amounts'}", "model.arguments={outputs: 1}", "forget={random: 0.1}"), Regression),
        (("data={factory: 'own.py:whole', holdout: 0.3}", "forget={random: 0.1}"), Classification),
    ],
)
def test_every_kind_of_data_set_and_task(recipe: Path, tmp_path: Path, overrides: tuple[str, ...], task: type) -> None:
    found = opened(recipe, *overrides)
    assert type(found.task) is task and found.holdout is not None
    summary = run(read(recipe, [*overrides, "run.steps=2"]), tmp_path / "out")
    assert summary["status"] in ("done", "unchanged")
    assert result(tmp_path / "out", "scores.json")["models"].keys() == {"original", "unlearned", "retrained"}


def test_a_model_is_another_where_its_task_is(recipe: Path) -> None:
    places = set()
    for text in (OWN, OWN.replace("return Classification()", "made = Classification()\n    return made")):
        (recipe.parent / "own.py").write_text(text)
        found = opened(recipe, "task={factory: 'own.py:task'}", "model={factory: 'own.py:net'}")
        places.add(found.trainer.code["code"])
        assert found.trainer.noted(found.learned) is None and found.opened(None) is not None
    assert len(places) == 2


def test_a_module_by_its_name(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (recipe.parent / "own_by_name.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(recipe.parent))
    text = RECIPE.replace("own.py:", "own_by_name:")
    recipe.write_text(text)
    assert "own_by_name" not in sys.modules, "reading a recipe imports nothing"
    found = opened(recipe)
    assert len(found.source.records) == 160 and "own_by_name" in sys.modules
    del sys.modules["own_by_name"]


def test_a_run_stays_in_its_folder(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recipe.parent)
    assert len(opened(recipe, "data={factory: 'own.py:moves'}", "forget={random: 0.1}").source.records) == 200
    assert Path.cwd() == recipe.parent


def test_a_network_without_shapes_yet_is_trained(recipe: Path) -> None:
    model = opened(recipe, "model={factory: 'own.py:lazy'}", "training.epochs=1").opened(None)
    assert model.get_parameter("0.weight").shape == (3, 4)


def test_nothing_of_a_package_is_executed_to_find_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "around" / "inner").mkdir(parents=True)
    (tmp_path / "around" / "__init__.py").write_text("raise RuntimeError('executed')")
    (tmp_path / "around" / "inner" / "own.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    found, _ = file_of(Made(factory="around.inner.own:data"), "data")
    assert found == tmp_path / "around" / "inner" / "own.py" and "around" not in sys.modules


def test_a_network_for_a_table_is_told_its_sizes(recipe: Path, tmp_path: Path) -> None:
    customers(tmp_path / "customers.csv")
    found = opened(
        recipe, "data={source: csv, path: customers.csv, target: left, user: customer, drop: [spend, set]}",
        "forget={random: 0.1}", "model.arguments={width: 8}",
    )  # fmt: skip
    first = found.network.build()[0]
    assert first.in_features == found.source.inputs and first.out_features == 8


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.factory=own.py:gone"], "has no function gone; it has drawn, data, whole, gaps, amounts, net, odd"),
        (["model.arguments={depth: 3}"], "net() of {file}: got an unexpected keyword argument 'depth'"),
        (["model={factory: 'own.py:odd'}"], "odd() must return a torch.nn.Module, it returned 'no module'"),
        (["model={factory: 'own.py:broken'}"], "model.factory: broken() of {file} failed: out of luck"),
        (["data={factory: 'no_such.module:make'}"], "data.factory: no module no_such.module with a file"),
        (["data={factory: 'own.py:leaves'}"], "leaves() of {file} ended the process (SystemExit 3)"),
        (["data={factory: 'own.py:nobodys'}"], "1 say nothing (first: example 3, None)"),
        (["data={factory: 'own.py:listed'}"], "people: expected one id for each example, found [0]"),
        (["data={factory: 'own.py:net'}"], "expected a data set that can be read by index"),
        (["data={factory: 'own.py:Noisy'}"], "gives another example when it is asked again"),
        (["data={factory: 'own.py:gaps'}", "forget={random: 0.1}"], "1 of 160 examples hold NaN or infinity (first"),
        (["data.arguments={}"], "nobody says whose the records are"),
        (["data.holdout=0.2"], "the factory gives a holdout or a test set itself: leave it out"),
        (["data={factory: 'own.py:twice'}", RANDOM], "holdout: expected examples that no model is trained on, found"),
        (["data={factory: 'own.py:copied'}", RANDOM], "holdout: expected examples that no step trains on, found 200"),
        (["data={factory: 'own.py:unknown'}", RANDOM, "task=regression"], "train: targets must be finite; found NaN"),
        (["data={factory: 'own.py:unknown'}", RANDOM, "task=regression"], "First: train[57]."),
        (
            ["data={factory: 'own.py:places'}", "model={factory: 'own.py:line'}", RANDOM, "task=dense"],
            "First: train[57].",
        ),
        (["task={factory: 'own.py:odd'}"], "expected an object with nll(model, batch)"),
        (["forget={where: {user: [p0, p999]}}"], "1 of 2 ids are not in the data (p999)"),
        (["forget={where: {age: 3}}"], "no column is named 'age', and a factory's records have people alone"),
    ],
)  # fmt: skip
def test_what_cannot_be_made(recipe: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        opened(recipe, *overrides).opened(None)
    assert said.format(file=recipe.parent / "own.py") in str(caught.value)


BLOCK = re.compile(r"^```yaml\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
PAGE = Path(__file__).parents[3] / "docs" / "your-own-data.md"


def test_the_recipes_of_the_page_are_recipes(recipe: Path) -> None:
    for name, content in {"ids.txt": "C1", "model.safetensors": "", "epoch9.ckpt": ""}.items():
        (recipe.parent / name).write_text(content)
    customers(recipe.parent / "customers.csv")
    found = [each["text"] for each in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]
    assert found
    for text in found:
        recipe.write_text(text)
        assert read(recipe).data.source in ("csv", "factory")
    assert not ran(recipe)


def weights(recipe: Path, content: Any) -> None:
    torch.save(content, recipe.parent / "model.pt")


def test_weights_of_a_checkpoint(recipe: Path, capsys: Told) -> None:
    model = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 3))
    inside = {f"model.{name}": each for name, each in model.state_dict().items()} | {"metric.total": torch.zeros(1)}
    weights(recipe, {"epoch": 3, "state_dict": inside})
    asked = ["model.weights=model.pt", "model.format=checkpoint"]
    with pytest.raises(ConfigurationError, match=r"begin with model\.: write prefix: model\."):
        opened(recipe, *asked).opened(recipe.parent / "model.pt")
    with pytest.raises(ConfigurationError, match=r"begin with model\.: write prefix: model\."):
        opened(recipe, *asked, "model.prefix=model").opened(recipe.parent / "model.pt")
    with pytest.raises(ConfigurationError, match=r"If torch\.save wrote it, write format: checkpoint"):
        opened(recipe, asked[0]).opened(recipe.parent / "model.pt")
    found = opened(recipe, *asked, "model.prefix=model.")
    taken = found.opened(recipe.parent / "model.pt")
    assert all(a.equal(b) for a, b in zip(taken.parameters(), model.parameters(), strict=True))
    assert found.reference(1) is not None, "training: says how"
    weights(recipe, model)
    with pytest.raises(ConfigurationError, match="weights_only=True: it holds other objects than tensors"):
        opened(recipe, *asked).opened(recipe.parent / "model.pt")
    weights(recipe, {"model": model.state_dict(), "optimizer": {}})
    with pytest.raises(ConfigurationError, match="it holds model, optimizer"):
        opened(recipe, *asked).opened(recipe.parent / "model.pt")
    (recipe.parent / "model.pt").write_text("hello")
    with pytest.raises(ConfigurationError, match=r"torch\.save did not write it, or it is damaged"):
        opened(recipe, *asked).opened(recipe.parent / "model.pt")
    weights(recipe, {"state_dict": [1, 2]})
    with pytest.raises(ConfigurationError, match="must hold a state dict"):
        opened(recipe, *asked).opened(recipe.parent / "model.pt")


def test_weights_from_elsewhere_do_not_say_what_they_saw(recipe: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 3))
    weights(recipe, model.state_dict())
    recipe.write_text(RECIPE.replace("training: {epochs: 20, lr: 0.01}\n", ""))
    asked = ["model.weights=model.pt", "model.format=checkpoint"]
    found = opened(recipe, *asked)
    run(read(recipe, [*asked, "run.steps=1"]), recipe.parent / "out")
    later = opened(recipe, f"model.weights={recipe.parent / 'out'}")
    assert later.reference(1) is None, "what a run left of them is from elsewhere too"
    assert found.reference(1) is None and any("no model is retrained" in note for note in found.notes)
    with pytest.raises(ConfigurationError, match="'retrained' needs a model"):
        opened(recipe, *asked, "contract={forget: [retrained]}")
    with pytest.raises(ConfigurationError, match=r"return a holdout beside the training set"):
        opened(recipe, *asked, "data={factory: 'own.py:whole'}", "forget={random: 0.1}")
