"""Bad input: one clear message, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from unweave import networks
from unweave.cli import main

Write = Callable[..., Path]


@dataclass(frozen=True)
class Case:
    """Overrides of a good recipe (or arguments of their own), and what the message has to say."""

    overrides: tuple[str, ...]
    says: tuple[str, ...]
    arguments: tuple[str, ...] = ()


CASES = {
    "no forget set": Case(("forget={}",), ("exactly one of class, indices, random, poison",)),
    "empty forget set": Case(("forget={indices: empty.txt}",), ("forget set", "found 0")),
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


def test_the_table_is_complete() -> None:
    assert len(CASES) == 34
