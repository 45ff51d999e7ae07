"""What the guards find is in the summary, said by the command, and outlives a resumed run."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors.torch

from tests.run.test_resume import ended
from unweave import modalities
from unweave.cli import main
from unweave.errors import ConfigurationError
from unweave.guards import GuardWarning
from unweave.modalities import read
from unweave.modalities.images import job as prepare
from unweave.run.runner import run

Write = Callable[..., Path]
PLAIN = ["training.epochs=3", "contract=none"]


def test_a_usual_recipe_has_no_warning(recipe: Write, tmp_path: Path) -> None:
    assert run(read(recipe(), PLAIN), tmp_path / "out")["warnings"] == []


def test_an_untrained_original(recipe: Write, tmp_path: Path) -> None:
    path = recipe()
    model = prepare.request(read(path)).network.build(seed=5)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "w.safetensors")
    with pytest.warns(GuardWarning, match="There is nothing to keep") as caught:
        summary = run(read(path, [*PLAIN, "model.weights=w.safetensors"]), tmp_path / "out")
    assert summary["warnings"] == [str(each.message) for each in caught] and len(caught) == 1


@pytest.mark.filterwarnings("default::unweave.GuardWarning")
def test_near_duplicates_are_looked_for_by_a_recipe(
    recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe()
    for verb in ("run", "diagnose"):
        asked = [*PLAIN, "forget={random: 0.1}", "guards.distance=0.5"]
        with suppress(SystemExit):
            main([verb, str(path), *(part for each in asked for part in ("-s", each))])
        assert "near-duplicates: " in capsys.readouterr().err
    assert json.loads((tmp_path / "runs" / "recipe" / "summary.json").read_text())["warnings"]


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_what_the_first_step_showed_outlives_a_resumed_run(recipe: Write, tmp_path: Path) -> None:
    tiny = ["method.name=finetune", "step={name: sgd, lr: 1.0e-30}", "run.checkpoint_every=1", "guards.distance=0.5"]
    settings = read(recipe(), [*PLAIN, *tiny, "forget={random: 0.1}"])
    ended(settings, tmp_path / "out", "unlearning", done=3)
    found = run(settings, tmp_path / "out", resume=True)["warnings"]
    assert [text.partition(":")[0] for text in found] == ["near-duplicates", "step length", "THE RUN CHANGED NOTHING"]


def test_what_cannot_be_right_is_refused_before_anything_is_written(
    recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read(recipe(), PLAIN)
    original = modalities.original(settings, prepare.request(settings))
    for parameter in original.parameters():
        parameter.data.fill_(float("inf"))
    monkeypatch.setattr(modalities, "original", lambda *_: original)
    with pytest.raises(ConfigurationError, match="the original's loss is not finite"):
        run(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()
