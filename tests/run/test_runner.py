"""A run leaves its directory, whole; resumed it is the run that was never interrupted."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from unweave import modalities
from unweave.errors import ConfigurationError, InfeasibleError
from unweave.evaluation import predict
from unweave.guards import GuardWarning
from unweave.modalities import read
from unweave.modalities.images import job as prepare
from unweave.run import directory
from unweave.run.runner import forgot_before, run
from unweave.run.steps_log import read_steps
from unweave.store import tensors_sha256

Write = Callable[..., Path]
FILES = ["checkpoint", "examples.json", "model", "recipe.yaml", "scores.json", "steps.jsonl", "summary.json"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model" / "model.safetensors")


def test_everything_that_a_run_leaves(recipe: Write, tmp_path: Path) -> None:
    path, folder, phases = recipe(), tmp_path / "out", []
    summary = run(read(path, ["evaluation.retrained=2"]), folder, watch=lambda phase, *_: phases.append(phase))
    assert sorted(each.name for each in folder.iterdir()) == FILES
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert (summary["status"], summary["steps"], summary["warnings"]) == ("done", 4, [])
    assert summary["model_after"] == tensors_sha256(weights(folder)) != summary["model_before"]
    assert summary["efficiency"] == summary["seconds"] / summary["retrain_seconds"]
    assert summary["peak_memory_bytes"] > 1e6 and summary["seconds"] > 0
    scores = json.loads((folder / "scores.json").read_text())
    assert set(scores["models"]) == {"original", "unlearned", "retrained", "retrained again"}
    assert set(scores["gaps"]) == {"original", "unlearned", "retrained again"}
    assert scores["models"]["unlearned"]["UA"]["n"] == summary["forget"]
    assert [row["step"] for row in read_steps(folder / "steps.jsonl")] == [1, 2, 3, 4]
    assert {"training the original", "unlearning", "scoring the unlearned model"} <= set(phases)


def test_a_run_is_quoted_and_says_which_examples_were_hardest_and_which_paid(recipe: Write, tmp_path: Path) -> None:
    settings, folder = read(recipe(), ["evaluation.quote=true"]), tmp_path / "out"
    run(settings, folder)
    assert sorted(each.name for each in folder.iterdir()) == sorted([*FILES, "quote.json"])
    request = prepare.request(settings)
    quote, shown = (json.loads((folder / f"{name}.json").read_text()) for name in ("quote", "examples"))
    assert {each["row"] for each in quote["forget"]} <= set(request.split.forget.tolist())
    assert [each["row"] for each in shown["hardest"]] == [each["row"] for each in quote["forget"][:12]]
    rises = [each["after"] - each["before"] for each in shown["paid"]]
    assert len(rises) == 12 and rises == sorted(rises, reverse=True)
    assert {each["row"] for each in shown["paid"]} <= set(request.split.retain.tolist())
    original, unlearned = request.original(), prepare.with_weights(request.network, folder / "model")
    for model, key in ((original, "before"), (unlearned, "after")):
        outputs = predict(model, request.task, request.train.subset([shown["hardest"][0]["row"]]))
        assert -outputs.margin[0] == pytest.approx(shown["hardest"][0][key], abs=1e-4)
    picture = base64.b64decode(shown["paid"][0]["png"])
    assert picture.startswith(b"\x89PNG") and len(picture) < 1000


def test_a_run_says_what_every_model_knows_of_each_forget_example(recipe: Write, tmp_path: Path) -> None:
    settings, folder = read(recipe(), ["evaluation.retrained=1"]), tmp_path / "out"
    run(settings, folder)
    request, shown = prepare.request(settings), json.loads((folder / "examples.json").read_text())
    assert shown["hardest"] == [], "not quoted"
    models = {
        "original": request.original(),
        "unlearned": prepare.with_weights(request.network, folder / "model"),
        "retrained": request.retrained(request.training.seed + 1),
    }
    odds = {name: -predict(model, request.task, request.forget).margin for name, model in models.items()}
    for name, values in odds.items():
        assert shown["distribution"][name] == pytest.approx(sorted(values), abs=1e-4)
    assert request.holdout is not None and len(shown["distribution"]["unseen"]) == len(request.holdout)
    known = odds["unlearned"] - odds["retrained"]
    rows = [int(request.split.forget[i]) for i in known.argsort(kind="stable")[:10]]
    assert [each["row"] for each in shown["worst"]] == rows
    assert all(each["retrained"] is not None and each["png"] for each in shown["worst"])


def test_the_resolved_recipe_gives_the_same_model_again(recipe: Write, tmp_path: Path) -> None:
    run(read(recipe()), tmp_path / "first")
    again = read(tmp_path / "first" / "recipe.yaml")
    assert again.method.arguments["ratio"] is not None and again.training.arguments["lr"] > 0
    assert set(again.environment["data"]) == {"train", "test", "forget"} and again.environment["torch"]
    run(again, tmp_path / "second")
    assert tensors_sha256(weights(tmp_path / "first")) == tensors_sha256(weights(tmp_path / "second"))


def test_ctrl_c_leaves_what_was_computed_and_can_be_resumed(recipe: Write, tmp_path: Path) -> None:
    def interrupt(phase: str, done: int, total: int) -> None:
        if phase == "unlearning" and done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    settings = read(recipe(), ["evaluation.retrained=1"])
    summary = run(settings, tmp_path / "out", watch=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert (summary["status"], summary["steps"]) == ("interrupted", 2)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == FILES
    assert set(json.loads((tmp_path / "out" / "scores.json").read_text())["models"]) == {"original", "unlearned"}
    run(settings, tmp_path / "out", resume=True)
    run(settings, tmp_path / "whole")
    assert tensors_sha256(weights(tmp_path / "whole")) == tensors_sha256(weights(tmp_path / "out"))


def test_a_run_that_changes_nothing_says_so(recipe: Write, tmp_path: Path) -> None:
    nothing = ["method.name=finetune", "step.name=sgd", "step.lr=1e-30"]
    summary = run(read(recipe(), nothing), tmp_path / "weights")
    assert summary["status"] == "unchanged" and "THE RUN CHANGED NOTHING" in summary["warnings"][-1]
    assert summary["model_before"] == summary["model_after"]


def test_scores_that_print_alike_are_no_change(recipe: Write, tmp_path: Path) -> None:
    little = ["method.name=finetune", "step.name=sgd", "step.lr=1e-7"]
    summary = run(read(recipe(), little), tmp_path / "out")
    assert summary["model_before"] != summary["model_after"] and summary["status"] == "unchanged"
    assert any("THE RUN CHANGED NO SCORE" in text for text in summary["warnings"])


def test_a_model_that_is_no_number_is_a_failure(recipe: Write, tmp_path: Path) -> None:
    much = ["method.name=finetune", "step.name=sgd", "step.lr=1e30", "run.steps=2"]
    summary = run(read(recipe(), much), tmp_path / "out")
    assert summary["status"] == "diverged" and summary["stop_reason"].startswith("diverged: ")
    assert any("THE MODEL COLLAPSED: its loss is not finite" in text for text in summary["warnings"])
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == FILES


def test_a_run_that_was_infeasible_can_be_overwritten(recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="--overwrite it with the next"):
        run(read(recipe(), ["method.rate=1e9"]), tmp_path / "out")
    assert run(read(recipe()), tmp_path / "out", overwrite=True)["steps"] == 4


def test_a_directory_in_use_is_left_alone(recipe: Write, tmp_path: Path) -> None:
    settings, folder = read(recipe()), tmp_path / "out"
    first = run(settings, folder)
    with pytest.raises(ConfigurationError, match="is not empty"):
        run(settings, folder)
    assert json.loads((folder / "summary.json").read_text()) == first
    assert run(settings, folder, overwrite=True)["model_after"] == first["model_after"]
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigurationError, match="holds more than a run"):
        run(settings, folder, overwrite=True)
    assert (folder / "thesis.tex").exists() and (folder / "summary.json").exists()


def test_one_process_at_a_time_writes_to_a_directory(recipe: Write, tmp_path: Path) -> None:
    asked, folder, again = read(recipe()), tmp_path / "a" / "out", directory.claimed(tmp_path / "a" / "out")
    with directory.claimed(folder):
        with pytest.raises(ConfigurationError, match="another process is at work here"):
            run(asked, folder)
        with pytest.raises(ConfigurationError, match="another process is at work here"):
            run(asked, folder, resume=True)
    assert not folder.parent.exists()  # nothing was written, nothing is left
    with again:
        (folder / "found").touch()
    assert folder.is_dir()


def test_the_first_step_refused_is_an_error(recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="no step was possible, the model is as it was"):
        run(read(recipe(), ["method.rate=1e9"]), tmp_path / "out")


REQUESTS: dict[str, tuple[list[str], int]] = {
    "class": (["forget.class=3"], 132),
    "name of a class": (["forget.class='3'"], 132),
    "two classes": (["forget.class=[3, '4']"], 263),
    "mix": (["forget.mix=0.5"], 132),
    "random": (["forget={random: 0.1}"], 130),
    "poison": (["forget={poison: 0.1}"], 130),
    "indices": (["forget={indices: rows.json}"], 3),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(recipe: Write, tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.json").write_text("[1, 5, 9]")
    overrides, count = REQUESTS[name]
    clean = prepare.request(read(recipe()))
    request = prepare.request(read(recipe(), overrides))
    assert len(request.forget) == count and len(request.forget) + len(request.retain) == len(request.train) == 1297
    wrong = request.train.labels != clean.train.labels
    assert int(wrong.sum()) == (count if name == "poison" else 0)
    assert not wrong[torch.from_numpy(request.split.retain)].any()


def test_weights_of_a_file_are_the_original(recipe: Write, tmp_path: Path) -> None:
    request = prepare.request(read(recipe()))
    model = request.network.build(seed=5)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "w.safetensors")
    settings: Any = read(recipe(), ["model.weights=w.safetensors"])
    assert tensors_sha256(modalities.original(settings, request).state_dict()) == tensors_sha256(model.state_dict())


def test_a_model_that_a_run_left_is_told_to_bring_back_what_that_run_forgot(recipe: Write, tmp_path: Path) -> None:
    run(read(recipe(), ["run.steps=1", "contract=none"]), tmp_path / "first")
    onward = [f"model.weights={tmp_path / 'first' / 'model' / 'model.safetensors'}", "run.steps=1", "contract=none"]
    other = "forget={class: 5}"
    (told,) = forgot_before(read(recipe(), [*onward, other]))
    assert "a run left this model" in told and "`already`" in told
    assert forgot_before(read(recipe(), onward)) == [], "more of the same"
    assert forgot_before(read(recipe(), [*onward, other, "already=[{class: 3}]"])) == []
    with pytest.warns(GuardWarning, match="may come back"):
        run(read(recipe(), [*onward, other]), tmp_path / "second")


def test_a_device_that_no_torch_knows_is_a_fault_of_its_line(recipe: Callable[..., Path]) -> None:
    with pytest.raises(ConfigurationError, match=r"recipe\.yaml:2: run\.device: expected auto, cpu or a name"):
        read(recipe("data: {source: digits}\nrun: {device: gpu}\nforget: {class: 3}\nmethod: {name: hamu_q}\n"))


def test_a_device_that_is_not_there_is_refused_before_anything_is_trained(
    recipe: Callable[..., Path], tmp_path: Path
) -> None:
    told: list[str] = []
    with pytest.raises(ConfigurationError, match=r"run\.device: cuda:99 is asked for"):
        run(read(recipe(), ["run.device=cuda:99"]), tmp_path / "out", watch=lambda title, *counts: told.append(title))
    assert not told and not (tmp_path / "out" / "recipe.yaml").exists()


def test_a_method_that_asks_for_answers_is_refused_where_there_are_none(
    recipe: Callable[..., Path], tmp_path: Path
) -> None:
    told: list[str] = []
    with pytest.raises(ConfigurationError, match="Where there are no texts choose another method"):
        run(read(recipe(), ["method.name=dpo"]), tmp_path / "out", watch=lambda title, *counts: told.append(title))
    assert not told and not (tmp_path / "out" / "recipe.yaml").exists()
