"""A recipe of a diffusion model goes all the way: quote, run, interruption, evaluation, sequence, ledger, pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.modalities.diffusion._pictures import EACH, RECIPE, pictures
from tests.run.test_resume import ended
from unweave.audit.standing import said
from unweave.cli import main
from unweave.errors import ConfigurationError
from unweave.ledger import Ledger
from unweave.modalities import job, read
from unweave.modalities.diffusion.folders import opened
from unweave.modalities.diffusion.folders import read as read_folder
from unweave.report.overview import table
from unweave.report.run_page import load
from unweave.run.identity import resolve
from unweave.store import tensors_sha256
from unweave.tuning import space_of

Write = Callable[..., Path]
Told = pytest.CaptureFixture[str]
STEPS = 2  # of a denoiser for an image
# Models of ten steps know no condition yet.
pytestmark = pytest.mark.filterwarnings("ignore:retain. with the conditions of others:unweave.guards.GuardWarning")
BRIEF = (  # for what does not read what is drawn
    RECIPE.replace("steps: 300", "steps: 10")
    .replace("sampling_steps: 5", f"sampling_steps: {STEPS}")
    .replace("search: 5", "search: 1")
)
QUICK = BRIEF.replace("evaluation: {", "evaluation: {retrained: 0, quote: false, ")
TRAINED = EACH - EACH // 5  # training images of a class


@pytest.fixture
def write(tmp_path: Path) -> Write:
    pictures(tmp_path / "pictures")

    def written(text: str = RECIPE, name: str = "recipe.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return int(caught.value.code or 0)


def result(folder: Path, name: str = "summary.json") -> Any:
    return json.loads((folder / name).read_text())


def digest(folder: Path) -> str:
    return tensors_sha256(
        safetensors.torch.load_file(folder / "model" / "unet" / "diffusion_pytorch_model.safetensors")
    )


def test_a_request_is_diagnosed(write: Write, capsys: Told) -> None:
    assert command("diagnose", write(BRIEF)) == 0
    told = capsys.readouterr().out
    assert f"class top: {TRAINED} to forget, {2 * TRAINED} to keep" in told
    assert "nats" not in told
    scores = next(line for line in told.splitlines() if line.startswith("scores "))
    assert "(3 models of" in scores and float(scores.split()[2]) > 0


@pytest.mark.parametrize(("name", "key", "own"), [("hamu_q", "ratio", 0.5), ("hamu_u", "ratio", 0.8)])
def test_what_a_denoiser_has_as_its_default_is_what_a_run_takes(write: Write, name: str, key: str, own: float) -> None:
    """It is written down, and a search begins with it; what the recipe says counts."""
    recipe = read(write(QUICK), [f"method={{name: {name}}}"])
    here = job(recipe)
    assert resolve(recipe, here, Path("out")).method.arguments[key] == own
    assert space_of(recipe, here.task).usual()[0]["method"][key] == own
    given = read(write(QUICK), [f"method={{name: {name}, {key}: 0.3}}"])
    assert resolve(given, here, Path("out")).method.arguments[key] == 0.3


@pytest.mark.slow
def test_a_run_is_resumed(write: Write, tmp_path: Path) -> None:
    whole, other = tmp_path / "whole", tmp_path / "other"
    assert command("run", write(QUICK), "-o", whole) == 0
    ended(read(write(QUICK)), other, "unlearning", done=3)
    assert command("run", write(QUICK), "-o", other, "--resume") == 0
    assert digest(whole) == digest(other) and result(whole, "scores.json") == result(other, "scores.json")


@pytest.mark.slow
def test_a_run_is_evaluated_and_shown(write: Write, tmp_path: Path, capsys: Told) -> None:
    """With trainings that are long enough to draw the shapes."""
    folder = tmp_path / "out"
    assert command("run", write(), "-o", folder) == 0
    told = capsys.readouterr().out
    assert "UA_drawn" in told and "RA_drawn" in told and "retrained" in told
    scores = result(folder, "scores.json")["models"]
    assert {"UA_drawn", "RA_drawn", "frechet", "forget_denoising", "MIA_denoising", "search", "search_shift"} <= scores[
        "unlearned"
    ].keys()
    assert scores["original"]["UA_drawn"]["value"] < 0.6 and scores["original"]["RA_drawn"]["value"] > 0.7, (
        "it draws the shapes"
    )
    assert scores["retrained"]["UA_drawn"]["value"] > 0.8, "and what it never saw it does not"
    assert command("evaluate", folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["models"]["unlearned"] == scores["unlearned"]
    assert {said("UA_drawn"), said("RA_drawn")} <= set(table("", {"run": load(folder)}).columns)
    shown = (folder / "report.html").read_text()
    assert "What it draws" in shown and base64.b64encode((folder / "grid.png").read_bytes()).decode() in shown
    assert (folder / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert result(folder, "examples.json")["worst"][0]["png"]
    for word in ("FID", "erased"):
        assert word not in shown


@pytest.mark.slow
def test_a_run_starts_from_the_folder_that_another_left(write: Write, tmp_path: Path) -> None:
    assert command("run", write(QUICK), "-o", tmp_path / "first") == 0
    again = ["-s", f"model={{weights: {tmp_path / 'first'}}}", "-s", "evaluation.quote=false"]
    assert command("run", write(BRIEF), "-o", tmp_path / "second", *again) == 0
    assert digest(tmp_path / "first") != digest(tmp_path / "second")
    summary = result(tmp_path / "second")
    assert summary["model_before"] == result(tmp_path / "first")["model_after"]
    assert "retrained" in result(tmp_path / "second", "scores.json")["models"], "the folder says how it was trained"
    opened(*read_folder(tmp_path / "second"))


@pytest.mark.slow
def test_a_model_that_nobody_says_the_training_of_has_no_retrained_one(write: Write, tmp_path: Path) -> None:
    assert command("run", write(QUICK), "-o", tmp_path / "first") == 0
    (tmp_path / "first" / "model" / "unweave.json").unlink()
    text = BRIEF.replace("training: {steps: 10, batch: 32, lr: 5.0e-3, ema: 0.9, timesteps: 50}\n", "")
    text = text.replace("{widths: [8, 16]}", f"{{weights: {tmp_path / 'first'}}}")
    made = job(read(write(text)))
    assert made.reference(1, lambda *_: None) is None and made.retraining() == (None, None)
    assert "no retrained model" in made.notes[0]
    for asked, what in (
        (text.replace("evaluation: {", "evaluation: {guidance: 3, "), "evaluation.guidance is 3"),
        (text.replace("{name: relabel_condition}", "{name: esd}"), "esd trains towards"),
        (text.replace("{name: relabel_condition}", "{name: hamu_q, over: esd}"), "esd trains towards"),
        (text.replace("{name: relabel_condition}", "{name: uce}"), "uce without a guide"),
        (text.replace("{name: relabel_condition}", "{name: relabel_condition, to: 3}"), "method.to is 3, which stands"),
    ):
        for training, why in (("", "nobody says whether"), ("training: {dropout: 0.0}\n", "always had a condition")):
            with pytest.raises(ConfigurationError, match=f"{what}.*{why}"):
                job(read(write(asked + training)))
        assert asked != text and job(read(write(asked + "training: {dropout: 0.1}\n"))).training is not None


@pytest.mark.slow
def test_a_default_contract_reads_what_is_drawn(write: Write, tmp_path: Path, capsys: Told) -> None:
    text = QUICK.replace("contract: none\n", "")
    limits = (
        "contract: {keep: [{metric: recognised, absolute: 0.6}, {metric: loss, relative: 1.9, clip: 3}], every: 2}\n"
    )
    assert command("run", write(text + limits), "-o", tmp_path / "out") in (0, 3)
    told = " ".join(capsys.readouterr().out.split())
    clauses = {clause["metric"]: clause for clause in result(tmp_path / "out")["contract"]}
    assert clauses.keys() == {"recognised", "loss", "generated"}, "the forget clause of a whole class is the default"
    assert clauses["recognised"]["clause"] == "recognised falls by at most 60 points"
    assert clauses["generated"]["limit"] == 0.15 and clauses["recognised"]["final"] is not None
    assert "nats" not in told and "perplexity" not in told


def test_a_share_of_the_images_is_forgotten(write: Write, tmp_path: Path) -> None:
    text = QUICK.replace("class: top", "random: 0.2")
    assert command("run", write(text), "-o", tmp_path / "out") == 0
    scores = result(tmp_path / "out", "scores.json")["models"]["unlearned"]
    assert "UA_drawn" not in scores and {"RA_drawn", "forget_denoising", "MIA_denoising"} <= scores.keys()


def test_a_class_is_hidden_by_an_edit_and_a_share_of_its_images_cannot_be(
    write: Write, tmp_path: Path, capsys: Told
) -> None:
    text = QUICK.replace("relabel_condition", "uce, guide: 0")
    assert command("run", write(text), "-o", tmp_path / "out") == 0
    table = safetensors.torch.load_file(tmp_path / "out" / "model" / "unet" / "diffusion_pytorch_model.safetensors")
    rows = table["class_embedding.weight"]
    assert rows[2].equal(rows[0]) and not rows[2].equal(rows[1])
    assert result(tmp_path / "out")["steps"] == 1
    capsys.readouterr()
    assert command("run", write(text.replace("class: top", "random: 0.2")), "-o", tmp_path / "other") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "uce edits what asks for images, and tells no two images of one condition apart" in told


@pytest.mark.slow
def test_requests_in_a_row(write: Write, tmp_path: Path) -> None:
    text = QUICK.replace("forget: {class: top}", "requests: [{id: a, class: top}, {id: b, random: 0.1}]")
    text = text.replace("contract: none", "contract: {keep: [{metric: recognised, absolute: 0.7}], every: 2}")
    folder = tmp_path / "out"
    assert command("run", write(text), "-o", folder) in (0, 3)
    done = result(folder, "sequence.json")
    assert done["status"] == "done" and [each["id"] for each in done["requests"]] == ["a", "b"]
    assert "class top" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_the_ledger(write: Write, tmp_path: Path, capsys: Told) -> None:
    folder, alone = tmp_path / "ledger", QUICK.replace("forget: {class: top}\n", "")
    alone = alone.replace(
        "contract: none\n", "contract: {keep: [{metric: recognised, absolute: 0.7}], forget: [unseen]}\n"
    )
    for name, rows in (("R-1", range(0, 10)), ("R-2", range(40, 50))):
        file = write("\n".join(map(str, rows)), f"{name}.txt")
        assert command("requests", "add", name, "--rows", file, "--ledger", folder) == 0
    assert command("requests", "run", write(alone), "--ledger", folder) in (0, 3)
    outcomes = [standing.outcome for standing in Ledger(folder).read()[1].requests.values()]
    assert outcomes and all(outcome is not None for outcome in outcomes)
    assert command("requests", "verify", "--ledger", folder) == 0


def test_what_is_drawn_for_an_example_depends_on_its_number_alone(write: Write) -> None:
    made = job(read(write(BRIEF)))
    model = made.opened(None, lambda *_: None)
    seen = made.task.recognised
    whole = made.retain.batch(range(6))
    parts = [made.retain.subset([0, 1]).batch([0, 1]), made.retain.subset(range(2, 6)).batch(range(4))]
    assert torch.equal(seen(model, whole), torch.cat([seen(model, part) for part in parts]))
    torch.testing.assert_close(
        seen.odds(model, whole), torch.cat([seen.odds(model, each) for each in parts]), rtol=1e-4, atol=1e-4
    )
    assert seen.passes == STEPS
    many = seen.several(3)
    assert many.passes == 3 * STEPS and many(model, whole).shape == (6, 3)
    assert torch.equal(many(model, whole), torch.cat([many(model, part) for part in parts]))
    next_ones = torch.cat([seen.several(1, skip)(model, whole) for skip in range(3)], 1)
    assert torch.equal(many(model, whole), next_ones), "the same images, whatever was drawn before them"
