"""Each fault of a user under every method, by `run` and `diagnose` in turn: one message, exit code 2, nothing lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from tests.faults.test_the_call import METHODS, Wrapped
from unweave import modalities
from unweave.cli import main
from unweave.modalities.images import networks, sources
from unweave.modalities.images.tensors import Source

Write = Callable[..., Path]
Patch = Callable[[pytest.MonkeyPatch], None]
COMMANDS = ("run", "diagnose")


def training(change: Callable[[Tensor, Tensor], object]) -> Patch:
    """Training images or labels that were changed after they were read."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        source = sources.load("digits", None)

        def load(*_: object) -> Source:
            images, labels = source.train.images.clone(), source.train.labels.clone()
            change(images, labels)
            return replace(source, train=replace(source.train, images=images, labels=labels))

        monkeypatch.setattr(sources, "load", load)

    return patch


def model(change: Callable[[nn.Module], nn.Module]) -> Patch:
    """Another original."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        opened = modalities.original
        monkeypatch.setattr(modalities, "original", lambda *given: change(opened(*given)))

    return patch


def twin(images: Tensor, labels: Tensor) -> None:
    images[8], labels[8] = images[4], labels[4]


@dataclass(frozen=True)
class Case:
    """What is wrong, what the message has to say, and which commands it is a fault of."""

    overrides: tuple[str, ...]
    says: tuple[str, ...]
    patch: Patch = lambda monkeypatch: None
    commands: tuple[str, ...] = COMMANDS
    methods: tuple[str, ...] = METHODS


SHARP = "contract={keep: [{metric: accuracy, absolute: 0.001}], forget: []}"
CASES = {
    "empty forget set": Case(("forget={indices: empty.txt}",), ("empty.txt names no record",)),
    "rows twice": Case(("forget={indices: twice.txt}",), ("once", "repetitions")),
    "an example in both sets": Case(
        ("forget={indices: four.txt}",),
        ("must share no example, found 1 of 1", "forget[0] = retain[7]"),
        training(twin),
    ),
    "a label that is no class": Case((), ("labels of the", "found 0 to 12"), training(lambda x, y: y[5:6].fill_(12))),
    "a class that is not there": Case(("forget.class=12",), ("class 12 is not in the training set",)),
    "NaN in an image": Case((), ("images must be finite", "in 1 of"), training(lambda x, y: x[5].fill_(torch.nan))),
    "NaN in the weights": Case(("model.weights=nan.safetensors",), ("not finite",)),
    "too few outputs": Case(
        (),
        ("forget: labels must be at least 0 and below 2", "retain: labels must be"),
        model(lambda m: Wrapped(m, lambda z: z[:, :2])),
    ),
    "a dict as output": Case((), ("it returned dict",), model(lambda m: Wrapped(m, lambda z: {"scores": z}))),
    "frozen": Case((), ("All parameters are frozen",), model(lambda m: m.requires_grad_(False))),
    "no such parameter": Case(("model.parameters=[nothing.*]",), ("No parameter is named 'nothing.*'",)),
    "a misspelt key": Case(("run.step=3",), ("Did you mean 'steps'?",)),
    "a wrong type": Case(("run.steps=many",), ("expected an integer", "'many'")),
    "several": Case(("run.steps=many", "forget.clas=3"), ("2 faults", "expected an integer", "Did you mean 'class'?")),
    "a missing file": Case(("model.weights=gone.safetensors",), ("no such file or folder",)),
    "a corrupted checkpoint": Case(("model.weights=cut.safetensors",), ("cut.safetensors", "cannot be read as")),
    "a limit that cannot be decided": Case((SHARP,), ("a limit of 0.001 cannot be decided",), commands=("run",)),
    "a quota that cannot be met": Case(
        ("method.rate=1e9",), ("no step was possible", "quota"), commands=("run",), methods=("hamu_q",)
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that the cases name."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"empty": "", "twice": "4\n4\n", "four": "4\n"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    state = networks.build("digits_cnn", 10, 1).state_dict()
    whole = safetensors.torch.save(state)
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    broken = {name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()}
    safetensors.torch.save_file(broken, tmp_path / "nan.safetensors")
    earlier = tmp_path / "runs" / "recipe"
    earlier.mkdir(parents=True)
    for name in ("recipe.yaml", "summary.json", "steps.jsonl"):
        (earlier / name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize("fault", CASES)
def test_the_command(
    fault: str, recipe: Write, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case, path, ran = CASES[fault], recipe(), 0
    case.patch(monkeypatch)
    before = {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    for command, method in zip(itertools.cycle(case.commands), case.methods, strict=False):
        overrides = (f"method.name={method}", *case.overrides)
        replaced = ("--overwrite",) if command == "run" else ()
        with pytest.raises(SystemExit) as caught:
            main([command, str(path), *replaced, *(part for each in overrides for part in ("-s", each))])
        captured = capsys.readouterr()
        assert "error: " in captured.err, captured
        message = captured.err[captured.err.index("error: ") :]
        assert caught.value.code == 2 and captured.out == "", captured
        assert not [part for part in case.says if part not in message], f"{command} {method}: {message}"
        assert "Traceback" not in message and message.count("error: ") == 1
        if "quota" not in fault:  # that is known when the run has begun
            after = {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
            assert after == before, f"{command} {method}: something was written, or lost"
        ran += 1
    assert ran == len(case.methods)
