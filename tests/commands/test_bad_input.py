"""Bad input: one clear message, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from unweave import modalities
from unweave.cli import main
from unweave.modalities.images import networks, sources

Write = Callable[..., Path]


@dataclass(frozen=True)
class Case:
    """Overrides of a good recipe (or arguments of their own), and what the message has to say."""

    overrides: tuple[str, ...]
    says: tuple[str, ...]
    arguments: tuple[str, ...] = ()


CASES = {
    "no forget set": Case(("forget={}",), ("exactly one of class, indices, random, poison",)),
    "empty forget set": Case(("forget={indices: empty.txt}",), ("empty.txt names no record", "row numbers")),
    "a row twice": Case(("forget={indices: twice.txt}",), ("once", "repetitions")),
    "everything forgotten": Case(("forget={indices: all.npy}",), ("retain set", "found 0")),
    "a row that is not there": Case(("forget={indices: beyond.txt}",), ("below 1297", "99999")),
    "rows that are no numbers": Case(("forget={indices: words.txt}",), ("words.txt", "row numbers")),
    "rows in an unknown format": Case(("forget={indices: rows.pkl}",), ("rows.pkl", "must end in")),
    "a class that is not there": Case(("forget.class=12",), ("class 12 is not in the training set",)),
    "a class by a wrong name": Case(("forget.class=three",), ("no class is named 'three'",)),
    "a misspelt section": Case(("metod.name=hamu_q",), ("Did you mean 'method'?",)),
    "a misspelt key": Case(("run.step=3",), ("Did you mean 'steps'?",)),
    "a wrong type": Case(("run.steps=many",), ("expected an integer", "'many'")),
    "no steps": Case(("run.steps=0",), ("run.steps", "greater than or equal to 1")),
    "an unknown method": Case(("method.name=hamu",), ("unknown method 'hamu'", "Did you mean 'hamu_")),
    "a misspelt hyperparameter": Case(("method.ratoi=1",), ("Did you mean 'ratio'?",)),
    "a hyperparameter out of range": Case(("method.ratio=7",), ("ratio", "7")),
    "a quota that cannot be met": Case(("method.rate=1e9",), ("no step was possible", "quota")),
    "an optimizer without learning rate": Case(("step.name=sgd",), ("'lr' is missing",)),
    "a negative learning rate": Case(("step.name=sgd", "step.lr=-1"), ("step.lr must be", "found -1")),
    "a learning rate that is none": Case(("step.name=adam", "step.lr=.nan"), ("step.lr must be", "found nan")),
    "an impossible momentum": Case(("step={name: sgd, lr: 0.1, momentum: -2}",), ("step.momentum must be",)),
    "a negative decay": Case(("step={name: adamw, lr: 0.1, weight_decay: -1}",), ("step.weight_decay must be",)),
    "an unknown source": Case(("data.source=digit",), ("Did you mean 'digits'?",)),
    "a missing data folder": Case(("data={source: cifar10, path: gone}",), ("no such file or folder", "gone")),
    "a folder that is no data": Case(("data={source: cifar10, path: .}",), ("must hold train*.parquet",)),
    "a folder without classes": Case(("data={source: image_folder, path: .}",), ("one folder per class",)),
    "an unknown network": Case(("model.network=digits_cn",), ("Did you mean 'digits_cnn'?",)),
    "missing weights": Case(("model.weights=gone.safetensors",), ("no such file or folder",)),
    "weights that are no safetensors": Case(("model.weights=words.txt",), ("cannot be read as safetensors",)),
    "weights of another network": Case(("model.weights=other.safetensors",), ("not of network 'digits_cnn'",)),
    "weights that are NaN": Case(("model.weights=nan.safetensors",), ("not finite",)),
    "all parameters frozen": Case(("model.parameters=[nothing.*]",), ("No parameter is named 'nothing.*'",)),
    "a learning rate that diverges": Case(("training.lr=1e6",), ("training diverged",)),
    "a bad override": Case(("steps",), ("expected section.key=value",)),
    "nothing to resume": Case((), ("holds no run to resume",), ("--resume", "-o", ".")),
    "a corrupted checkpoint": Case((), ("no checkpoint can be read", "000000"), ("--resume", "-o", "corrupted")),
    "output is a file": Case((), ("expected a directory",), ("-o", "words.txt")),
    "output below a file": Case((), ("words.txt/run", "cannot be created"), ("-o", "words.txt/run")),
    "output that cannot be": Case((), ("/proc/foo/bar", "cannot be created"), ("-o", "/proc/foo/bar")),
    "output is in use": Case((), ("holds more than a run",), ("-o", ".", "--overwrite")),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that the cases name."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"empty": "", "twice": "4\n4\n", "beyond": "3\n99999\n", "words": "three\n"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    (tmp_path / "rows.pkl").write_bytes(b"")
    np.save(tmp_path / "all.npy", np.arange(1297))
    own, other = networks.build("digits_cnn", 10, 1), networks.build("digits_cnn", 7, 1)
    safetensors.torch.save_file(other.state_dict(), tmp_path / "other.safetensors")
    broken = {name: torch.full_like(tensor, torch.nan) for name, tensor in own.state_dict().items()}
    safetensors.torch.save_file(broken, tmp_path / "nan.safetensors")
    (tmp_path / "corrupted" / "checkpoint" / "000000").mkdir(parents=True)
    (tmp_path / "corrupted" / "checkpoint" / "000000" / "state.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, recipe: Write, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    path = recipe()
    before = {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    with pytest.raises(SystemExit) as caught:
        main(["run", str(path), *(part for each in case.overrides for part in ("-s", each)), *case.arguments])
    captured = capsys.readouterr()
    message = captured.err[captured.err.index("error: ") :]
    assert caught.value.code == 2 and captured.out == ""
    assert not [part for part in case.says if part not in message], message
    assert "Traceback" not in message and "pydantic" not in message and message.count("error: ") == 1
    assert {each: each.read_bytes() for each in before} == before, "nothing lost"


def test_nan_in_the_data(
    recipe: Write, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn import datasets

    content = datasets.load_digits()
    content.images[5, 0, 0] = np.nan
    monkeypatch.setattr(datasets, "load_digits", lambda: content)
    with pytest.raises(SystemExit) as caught:
        main(["run", str(recipe())])
    assert caught.value.code == 2
    assert "images must be finite, found NaN or infinity in 1 of 1797" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["run"], ["diagnose"], ["evaluate", "nan.safetensors", "--recipe"]])
@pytest.mark.parametrize("content", [b"\x00\x01", b"data: \x07", b"\xff\xfe"], ids=["zero", "bell", "no text"])
def test_a_recipe_that_is_no_text(
    command: list[str], content: bytes, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bin.yaml").write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        main([*command, "bin.yaml"])
    assert caught.value.code == 2 and capsys.readouterr().err.startswith("error: bin.yaml: ")


@pytest.mark.parametrize("command", [["demo"], ["evidence", "RECIPE"], ["audit", "plan", "ids.txt"]], ids=" ".join)
def test_every_command_says_where_it_cannot_write(
    command: list[str], recipe: Write, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(recipe())
    (folder / "ids.txt").write_text("\n".join(map(str, range(40))))
    with pytest.raises(SystemExit) as caught:
        main([*(path if part == "RECIPE" else part for part in command), "-o", "words.txt/run"])
    message = capsys.readouterr().err
    assert caught.value.code == 2 and "error: " in message and "words.txt" in message and "Traceback" not in message


ALL = {
    "method={name: salun, share: 5}": "method.share must be a number in (0, 1]; found 5.",
    "step={name: sgd, lr: -1, momentum: 2}": "step.momentum must be",
    "training.lr=-1": "training.lr must be above 0, found -1",
    "model.network=digits_cn": "model.network must be one of",
    "run.steps=0": "run.steps",
}
METHODS: dict[str, tuple[str, ...]] = {
    "{name: scrub, temperature: 0, alpha: .nan, forget_steps: 0}": (
        "method.temperature must be",
        "method.alpha must be",
        "method.forget_steps must be",
    ),
    "{name: npo, beta: 0, forget: .nan}": ("method.beta must be", "method.forget must be"),
    "{name: hamu_q, ratio: auto, slack: -3, rate: fast}": (
        "method.ratio is 'auto'",
        "method.slack must be",
        "method.rate: expected a number",
    ),
    "{name: eupmu, budget: 1, steps: many, dual_lr: 0}": (
        "method.steps: expected an integer",
        "method.dual_lr must be",
    ),
    "{name: ssd, selection: -1, dampening: 0, bach: 3}": (
        "method.selection must be",
        "method.dampening must be",
        "method.bach: unknown key. Did you mean 'batch'?",
    ),
    "{name: hamu_q, slack: -3, over: {name: npo, beta: 0, retain: lots}}": (
        "method.slack must be",
        "method.over.beta must be",
        "method.over.retain: expected a number",
    ),
    "{name: scrub, temperature: 0}": ("method.temperature must be",),
    "{name: eupmu, budget: 1}": ("method.budget is spread over a number of steps",),
    "{name: ofmu, inner_lr: -1, penalty: -1}": ("method.inner_lr must be", "method.penalty must be"),
    "{name: pdu, dual_lr: -1}": ("method.dual_lr must be",),
    "{name: hamu_q, slack: -3}": ("method.slack must be",),
    "{name: hamu_q, ratio: auto}": ("method.ratio is 'auto'",),
    "{name: ce_u}": ("method: CE-U is about texts",),
    "{name: hamu_q, over: {name: scrub, temperature: 0}}": ("method.over.temperature must be",),
}


def test_all_faults_before_anything_is_trained(
    recipe: Write, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modalities, "job", lambda recipe: pytest.fail("the data were loaded"))
    with pytest.raises(SystemExit):
        main(["run", str(recipe()), *(part for each in ALL for part in ("-s", each))])
    message = capsys.readouterr().err
    assert message.startswith("error: 6 faults\n") and not [each for each in ALL.values() if each not in message]
    for method, says in METHODS.items():
        with pytest.raises(SystemExit):
            main(["run", str(recipe()), "-s", f"method={method}", "-s", "model.parameters=[nothing.*]"])
        message = capsys.readouterr().err
        assert f"error: {len(says) + 1} faults" in message, message
        assert not [each for each in says if each not in message], message
        assert "model.parameters: No parameter is named 'nothing.*'" in message


def test_all_faults_of_the_data_and_of_the_weights(
    recipe: Write, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The earlier requests, the request and the weights are read, whatever is wrong with one of them."""
    again = "already=[{indices: twice.txt}, {class: 12}]"
    given = ("forget={class: three}", again, "model.weights=other.safetensors")
    with pytest.raises(SystemExit) as caught:
        main(["run", str(recipe()), *(part for each in given for part in ("-s", each))])
    message = capsys.readouterr().err
    assert caught.value.code == 2 and "error: 4 faults" in message
    told = ("no class is named 'three'", "repetitions", "class 12 is not in", "not of network 'digits_cnn'")
    assert not [each for each in told if each not in message], message


@pytest.mark.parametrize("command", ["run", "diagnose", "evidence"])
def test_a_test_set_that_was_trained_on_is_refused(
    command: str, recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that compares with unseen images: an attack on such a holdout would find nothing."""
    source = sources.load("digits", None)
    images = torch.cat([source.test.images[7:], source.train.images[5:12]])
    seen = replace(source, test=replace(source.test, images=images))
    monkeypatch.setattr(sources, "load", lambda *_: seen)
    with pytest.raises(SystemExit) as caught:
        main([command, str(recipe())])
    told = capsys.readouterr().err
    assert caught.value.code == 2 and "7 of 500 are in the training set too (first: test[493]" in told
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", [["evaluate", "killed"], ["run", "recipe.yaml", "-o", "out"]], ids=" ".join)
def test_a_run_that_has_not_ended_is_gone_on_with(
    command: list[str], recipe: Write, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was killed has no model yet, to be scored or to be unlearned."""
    (folder / "killed" / "checkpoint").mkdir(parents=True)
    (folder / "killed" / "recipe.yaml").write_text(recipe().read_text())
    recipe((folder / "killed" / "recipe.yaml").read_text() + "\nmodel: {weights: killed}\n")
    with pytest.raises(SystemExit) as caught:
        main(command)
    told = capsys.readouterr().err
    assert caught.value.code == 2 and "killed: expected a model, found a run that has not ended" in told, told
    assert "unweave run --resume " in told and not (folder / "out").exists()
