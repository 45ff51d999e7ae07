"""Evidence about a run that is there: its own model is number 0; what moved, was edited or is unfinished is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch

from tests.audit.test_collect import RECIPE
from unweave.audit.collect import evidence
from unweave.audit.experiment import Experiment, alone
from unweave.audit.finished_run import finished_run
from unweave.audit.models import make
from unweave.cli import main
from unweave.errors import ConfigurationError
from unweave.modalities import read
from unweave.modalities.images import job as prepare
from unweave.report.build import build
from unweave.run import sequence
from unweave.run.runner import run

Write = Callable[..., Path]
CONTRACT = "contract: {keep: [{metric: accuracy, absolute: 0.08}], forget: [{metric: accuracy, at_most: 0.85}]}"
SEQUENCE = (
    RECIPE.replace("forget: {class: 3}", "requests: [{id: threes, class: 3}, {id: sevens, class: 7}]")
    .replace("contract: none", CONTRACT)
    .replace("{steps: 2,", "{steps: 60,")
    .replace("epochs: 1", "epochs: 4")
    .replace("retrained: 4", "retrained: 2")
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two requests in a row, in 01-threes and 02-sevens."""
    folder = tmp_path_factory.mktemp("sequence")
    (folder / "recipe.yaml").write_text(SEQUENCE)
    sequence.run(read(folder / "recipe.yaml"), folder / "out")
    return folder / "out"


@pytest.fixture
def second(made: Path, tmp_path: Path) -> Path:
    """A copy of the second run, which goes on from the model of the first."""
    return Path(shutil.copytree(made / "02-sevens", tmp_path / "02-sevens"))


def about(folder: Path, output: Path | None = None, **changes: Any) -> dict[str, Any]:
    return evidence(read(folder / "recipe.yaml"), output or folder, run=folder, **changes)


def models(found: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each for each in found["runs"]["models"] if each["kind"] == kind]


@pytest.mark.slow
def test_the_run_of_a_sequence_is_number_0(second: Path) -> None:
    summary = json.loads((second / "summary.json").read_text())
    found = about(second)
    originals, unlearned = models(found, "original"), models(found, "unlearned")
    assert originals[0]["sha256"] == summary["model_before"] and unlearned[0]["sha256"] == summary["model_after"]
    assert len({each["sha256"] for each in (*originals, *unlearned)}) == 4, "the others are made anew"
    assert found["own_run"] == {
        "recipe": hashlib.sha256((second / "recipe.yaml").read_bytes()).hexdigest(),
        "before": summary["model_before"],
        "after": summary["model_after"],
    }
    assert found["request"]["forget"] == summary["forget"] and found["request"]["retain"] == summary["retain"]
    assert found["runs"]["seeds"]["original"] == [None, 1000] and unlearned[0]["seconds"] == summary["seconds"]
    assert any("started from the weights of a file" in note for note in found["notes"])
    assert not any("come from one original" in note for note in found["notes"])
    rows = {each["row"] for each in found["per_example"]["forget"]["worst"]}
    assert rows <= set(prepare.request(read(second / "recipe.yaml")).split.forget.tolist())
    assert "The evidence is about it and 1 more of the same recipe" in build(second).read_text()


def test_fresh_originals_never_saw_what_earlier_requests_took(second: Path) -> None:
    recipe = read(second / "recipe.yaml")
    request = prepare.request(recipe)
    own = alone(request)
    assert len(own.train) == len(request.forget) + len(request.retain) < len(request.train)
    for mine, given in ((own.forget, request.forget), (own.retain, request.retain)):
        assert mine.fingerprint() == given.fingerprint()
    assert not bool((own.train.labels == 3).any()) and bool((request.train.labels == 3).any())
    world = Experiment(recipe.model_copy(update={"model": recipe.model.model_copy(update={"weights": None})}), request)
    fresh = Experiment(world.recipe, request, own=finished_run(second))
    assert np.array_equal(fresh.trained_with(0).split.forget, request.split.forget)
    assert fresh.trained_with(1).train.fingerprint() == own.train.fingerprint()
    assert world.trained_with(1).train.fingerprint() == request.train.fingerprint()


@pytest.mark.slow
def test_a_run_whose_original_was_trained_is_number_0(recipe: Write, tmp_path: Path) -> None:
    asked, folder = read(recipe(RECIPE)), tmp_path / "out"
    summary = run(asked, folder)
    found = about(folder)
    assert models(found, "original")[0]["sha256"] == summary["model_before"]
    assert models(found, "unlearned")[0]["sha256"] == summary["model_after"] == found["own_run"]["after"]
    plain = evidence(asked, tmp_path / "plain")
    assert plain["own_run"] is None and plain["runs"]["seeds"] == found["runs"]["seeds"]
    assert [m["sha256"] for m in plain["runs"]["models"]] == [m["sha256"] for m in found["runs"]["models"]]
    assert plain["gaps"] == found["gaps"], "a run of one request is the first of its recipe's models"


def test_what_is_not_the_run_as_it_was_is_refused(made: Path, second: Path, tmp_path: Path) -> None:
    """One clear message each, before anything is trained or written."""
    first = tmp_path / "first"
    shutil.copytree(made / "01-threes", first)
    moved = (second / "recipe.yaml").read_text().replace(str(made / "01-threes"), str(tmp_path / "nowhere"))
    other = (second / "recipe.yaml").read_text().replace(str(made / "01-threes"), str(first))
    weights = safetensors.torch.load_file(first / "model" / "model.safetensors")
    name = next(iter(weights))
    safetensors.torch.save_file({**weights, name: weights[name] + 1}, first / "model" / "model.safetensors")
    summary = json.loads((second / "summary.json").read_text())
    cases: dict[str, tuple[str, str | bytes]] = {
        "expected the summary.json of a finished run": (
            "summary.json",
            json.dumps(summary | {"status": "interrupted"}),
        ),
        "the model that this run left: expected weights": (
            "model/model.safetensors",
            (first / "model" / "model.safetensors").read_bytes(),
        ),
        "run.steps: 60 -> 4": ("recipe.yaml", (second / "recipe.yaml").read_text().replace("steps: 60", "steps: 4")),
        "model.weights: no such file or folder": ("recipe.yaml", moved),
        "the model that this run started from: expected weights": ("recipe.yaml", other),
        "'model_before' is missing": (
            "summary.json",
            json.dumps({key: value for key, value in summary.items() if key not in ("model_before", "sha256")}),
        ),
        "summary.json was changed since it was written": (
            "summary.json",
            json.dumps({key: value for key, value in summary.items() if key != "model_before"}),
        ),
    }
    for text, (file, content) in cases.items():
        folder = Path(shutil.copytree(second, tmp_path / "copy"))
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ConfigurationError) as caught:
            about(folder)
        assert text in str(caught.value), (text, str(caught.value))
        assert not (folder / "evidence.json").exists()
        shutil.rmtree(folder)
    with pytest.raises(ConfigurationError, match="found a sequence: give the folder of one of its runs"):
        about(made)
    with pytest.raises(SystemExit) as ended:
        main(["evidence", str(made)])
    assert ended.value.code == 2


def test_other_weights_are_another_model(recipe: Write, tmp_path: Path) -> None:
    """What is unlearned from a file is kept under the file's content, wherever it lies."""
    asked = read(recipe(RECIPE))
    request = prepare.request(asked)
    file, found = tmp_path / "given.safetensors", []
    for number in (0, 1):
        model = make(Experiment(asked, request), "original", number).model
        safetensors.torch.save_file(model.state_dict(), file)
        given = asked.model_copy(update={"model": asked.model.model_copy(update={"weights": file})})
        found.append(make(Experiment(given, request), "unlearned", 0).about["sha256"])
    assert found[0] != found[1]
