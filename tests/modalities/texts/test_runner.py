"""A recipe of texts becomes a run directory, whole; resumed it is the run that was never interrupted."""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from unweave.cli import main
from unweave.errors import ConfigurationError
from unweave.guards import GuardWarning
from unweave.modalities import read
from unweave.modalities.texts.evaluation import read_log
from unweave.pretrained import load
from unweave.run.runner import run
from unweave.run.steps_log import read_steps

Write = Callable[..., Path]
collect = importlib.import_module(
    "unweave.modalities.texts.evaluation.collect"
)  # the package has a function of that name
FILES = ["answers.json", "checkpoint", "examples.json", "model", "recipe.yaml", "scores.json", "steps.jsonl"]
FILES += ["summary.json", "values"]


class Ended(Exception):
    """The run ends here."""


def content(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / "model").glob("*.safetensors")
    return load_file(file)


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_everything_that_a_run_with_lora_leaves(recipe: Write, tmp_path: Path) -> None:
    path, folder = recipe(), tmp_path / "out"
    summary = run(read(path), folder)
    assert sorted(each.name for each in folder.iterdir()) == FILES
    assert (summary["status"], summary["steps"], summary["forget"], summary["retain"]) == ("done", 4, 4, 20)
    assert summary["request"] == "the texts named in request.txt" and summary["model_before"] != summary["model_after"]
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= {
        each.name for each in (folder / "model").iterdir()
    }, "the layout that it came in: an adapter"
    scores = content(folder, "scores.json")
    assert set(scores["models"]) == {"original", "unlearned"} and not scores["gaps"]
    before, after = (scores["models"][name]["forget_probability"]["value"] for name in ("original", "unlearned"))
    assert after < before
    assert {"relearned_gain", "retain_rouge", "extraction_strength"} <= set(scores["models"]["unlearned"])
    assert [row["step"] for row in read_steps(folder / "steps.jsonl")] == [1, 2, 3, 4]
    answers = content(folder, "answers.json")
    assert len(answers["forget"]) == 4 and set(answers["forget"][0]["answers"]) == {"original", "unlearned"}
    assert read_log(folder / "values" / "unlearned").has("forget", "prob")
    model, _ = load(tmp_path / "model", adapter=folder / "model")
    assert any(bool(p.any()) for name, p in model.named_parameters() if "lora_B" in name)
    checkpoint = load_file(next((folder / "checkpoint").glob("*/tensors.safetensors")))
    assert not [name for name in checkpoint if name.startswith("model") and "lora_" not in name], "nothing fixed"


COMBINATIONS = {
    "hamu_q over npo": "{name: hamu_q, ratio: 0.3, over: npo}",
    "eupmu over simnpo": "{name: eupmu, over: {name: simnpo, beta: 2.0}}",
    "pcgrad over rmu": "{name: pcgrad, over: {name: rmu, layer: 0}}",
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_any_rule_over_any_loss(recipe: Write, tmp_path: Path, name: str) -> None:
    changes = [f"method={COMBINATIONS[name]}", "evaluation={quote: false, generate: 0, relearning: none}"]
    summary = run(read(recipe(), changes), tmp_path / "out")
    assert (summary["status"], summary["method"]) == ("done", name)
    assert summary["model_before"] != summary["model_after"]
    again = read(tmp_path / "out" / "recipe.yaml")
    assert again.method.arguments["over"] is not None
    gramian = read_steps(tmp_path / "out" / "steps.jsonl")[0]["gramian"]
    assert (gramian is None) == (name == "eupmu over simnpo"), "the rule is the first one's"


def test_a_run_goes_on_from_the_adapters_that_another_left(
    recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(read(recipe()), tmp_path / "first")
    second = run(read(recipe(), ["model={weights: first/model}"]), tmp_path / "second")
    assert second["status"] == "done" and second["model_before"] == first["model_after"] != second["model_after"]
    with pytest.raises(SystemExit) as caught:
        main(["run", str(recipe()), "-s", "model.weights=first/model", "-o", str(tmp_path / "third")])
    assert caught.value.code == 2 and "model.lora makes new adapters, and model.weights" in capsys.readouterr().err


def test_adapters_are_not_read_on_a_model_that_has_changed(
    recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(read(recipe(), ["evaluation={quote: false, generate: 0, relearning: none}"]), tmp_path / "out")
    commands = (["evaluate", str(tmp_path / "out")], ["export", str(tmp_path / "out"), "-o", str(tmp_path / "made")])
    with pytest.raises(SystemExit) as caught:
        main([*commands[0], "--json"])
    assert caught.value.code == 0
    shown = json.loads(capsys.readouterr().out)["models"]["unlearned"]["forget_probability"]["value"]
    file, refused = tmp_path / "model" / "model.safetensors", 0
    tensors = weights(tmp_path)
    save_file({**tensors, "lm_head.weight": 1.5 * tensors["lm_head.weight"]}, file, {"format": "pt"})
    for command in commands:
        with pytest.raises(SystemExit) as caught:
            main(command)
        assert caught.value.code == 2 and "what its adapters stand on included: expected" in capsys.readouterr().err
        refused += 1
    assert refused == 2 and shown > 0 and not (tmp_path / "made").exists()


def test_all_weights_in_a_folder_of_transformers(recipe: Write, tmp_path: Path) -> None:
    changes = ["model={weights: model}", "method={name: hamu_q}", "step={name: trust}"]
    summary = run(read(recipe(), changes), tmp_path / "out")
    assert summary["status"] == "done" and summary["model_before"] != summary["model_after"]
    model, own = load(tmp_path / "out" / "model")
    assert own.chat_template and own.pad_token is None and sum(p.numel() for p in model.parameters()) > 10_000


KINDS = {
    "lora": [],
    "full": ["model={weights: model}"],
    "a trust region under a contract": [
        *("method={name: hamu_q, over: npo}", "step={name: trust}", "data.holdout=holdout.jsonl"),
        "contract={keep: [{metric: loss, absolute: 5.0}], forget: [{metric: loss, at_least: 90.0}], every: 2}",
    ],
    "fine-tuned": ["model={base: base, lora: {rank: 2}}", "training={epochs: 2, batch: 8, lr: 0.02}"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_it_is_the_run_that_was_never_interrupted(recipe: Write, tmp_path: Path, kind: str) -> None:
    settings = read(recipe(), KINDS[kind])

    def end(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("unlearning", 3):
            raise Ended

    with pytest.raises(Ended):
        run(settings, tmp_path / "cut", watch=end)
    assert len(read_steps(tmp_path / "cut" / "steps.jsonl")) == 3
    run(read(tmp_path / "cut" / "recipe.yaml"), tmp_path / "cut", resume=True)  # as `unweave run --resume DIR` does
    run(settings, tmp_path / "whole")
    assert same(tmp_path / "cut", tmp_path / "whole")
    assert content(tmp_path / "cut", "scores.json") == content(tmp_path / "whole", "scores.json")


def test_another_configuration_does_not_resume_a_run(recipe: Write, tmp_path: Path) -> None:
    settings, file = read(recipe(), ["evaluation={quote: false, generate: 0, relearning: none}"]), "model/config.json"

    def end(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("unlearning", 2):
            raise Ended

    with pytest.raises(Ended):
        run(settings, tmp_path / "cut", watch=end)
    before = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps({**before, "rms_norm_eps": 1e-2}))
    with pytest.raises(ConfigurationError, match="configuration of the original model changed since the run began"):
        run(settings, tmp_path / "cut", resume=True)
    (tmp_path / file).write_text(json.dumps({**before, "transformers_version": "another"}))
    assert run(settings, tmp_path / "cut", resume=True)["status"] == "done"


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_tied_embeddings_are_kept_once_or_not_at_all(recipe: Write, tmp_path: Path, kind: str) -> None:
    path, file = recipe(), tmp_path / "model" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tie_word_embeddings": True}))
    tensors = weights(tmp_path)
    del tensors["lm_head.weight"]
    save_file(tensors, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    settings = read(path, ["evaluation={quote: false, generate: 0, relearning: none}", *KINDS[kind]])

    def end(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("unlearning", 3):
            raise Ended

    with pytest.raises(Ended):
        run(settings, tmp_path / "cut", watch=end)
    kept = load_file(next((tmp_path / "cut" / "checkpoint").glob("*/tensors.safetensors")))
    embeddings = [name for name in kept if name.startswith("model") and ("lm_head" in name or "embed_tokens" in name)]
    assert len([name for name in embeddings if "lora_" not in name]) == (1 if kind == "full" else 0)
    run(settings, tmp_path / "cut", resume=True)
    run(settings, tmp_path / "whole")
    assert same(tmp_path / "cut", tmp_path / "whole")


def test_killed_while_scoring_nothing_is_unlearned_or_scored_again(
    recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, phases, passes = read(recipe()), [], []
    forced = collect.forced_lines
    monkeypatch.setattr(collect, "forced_lines", lambda *a: passes.append(a[1]) or forced(*a))

    def end(phase: str, done: int, total: int) -> None:
        if phase == "scoring the unlearned model":
            raise Ended

    with pytest.raises(Ended):
        run(settings, tmp_path / "out", watch=end)
    first = list(passes)
    summary = run(settings, tmp_path / "out", resume=True, watch=lambda phase, *_: phases.append(phase))
    assert "unlearning" not in phases and (summary["status"], summary["steps"]) == ("done", 4)
    assert set(content(tmp_path / "out", "scores.json")["models"]) == {"original", "unlearned"}
    assert first and passes == 2 * first, "of the original once, of the unlearned model once"


def test_after_ctrl_c_the_values_of_the_half_run_are_not_taken_for_those_of_the_whole(
    recipe: Write, tmp_path: Path
) -> None:
    settings = read(recipe())

    def interrupt(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("unlearning", 2):
            os.kill(os.getpid(), signal.SIGINT)

    half = run(settings, tmp_path / "out", watch=interrupt)
    assert (half["status"], half["steps"]) == ("interrupted", 2)
    before = content(tmp_path / "out", "scores.json")["models"]["unlearned"]
    run(settings, tmp_path / "out", resume=True)
    run(settings, tmp_path / "whole")
    after, whole = (content(tmp_path / name, "scores.json")["models"]["unlearned"] for name in ("out", "whole"))
    assert before != after == whole


@pytest.mark.slow
def test_a_base_is_fine_tuned_and_retrained(recipe: Write, tmp_path: Path) -> None:
    phases: list[str] = []
    path = recipe()
    model, training = "model={base: base, lora: {rank: 8}}", "training={epochs: 4, batch: 8, lr: 0.02}"
    changes = [model, training, "evaluation.quote=true"]
    summary = run(read(path, changes), tmp_path / "out", watch=lambda phase, *_: phases.append(phase))
    scores = content(tmp_path / "out", "scores.json")
    assert set(scores["models"]) == {"original", "unlearned", "retrained"}
    assert scores["gaps"]["unlearned"]["average_gap"]["n"] == 2
    assert summary["retrain_seconds"] > 0 and summary["efficiency"] == summary["seconds"] / summary["retrain_seconds"]
    assert {"training the original", "retraining without the forget set (seed 1)"} <= set(phases)
    quote, shown = content(tmp_path / "out", "quote.json"), content(tmp_path / "out", "examples.json")
    assert len(quote["forget"]) == 4 and "Ana?" in shown["hardest"][0]["text"]
    again = run(read(path, changes), tmp_path / "again")
    assert again["model_after"] == summary["model_after"], "the cache gives the same models"


def test_a_reference_folder_is_the_retrained_model(recipe: Write, tmp_path: Path) -> None:
    run(read(recipe(), ["evaluation.reference=base"]), tmp_path / "out")
    scores = content(tmp_path / "out", "scores.json")
    assert scores["gaps"]["unlearned"]["average_gap"]["value"] is not None
    assert scores["models"]["retrained"]["forget_probability"]["value"] < 0.1


def test_a_contract_with_holdout_and_one_without(recipe: Write, tmp_path: Path) -> None:
    keep = "contract={keep: [{metric: loss, absolute: 5.0}]}"
    summary = run(read(recipe(), [keep, "data.holdout=holdout.jsonl"]), tmp_path / "with")
    assert [clause["side"] for clause in summary["contract"]] == ["keep", "forget"]
    assert len(read_log(tmp_path / "with" / "values" / "original").values["holdout"]["loss"]) == 6
    with pytest.warns(GuardWarning, match="no holdout"):
        summary = run(read(recipe(), [keep]), tmp_path / "without")
    assert [clause["side"] for clause in summary["contract"]] == ["keep"]
    assert any("no holdout" in text for text in summary["warnings"])


def test_the_forget_loss_ends_at_unseen_texts_and_is_read_where_a_relearner_leads(
    recipe: Write, tmp_path: Path
) -> None:
    method = "method={name: hamu_q, over: wga, ratio: 0.3, need: true}"
    ways = {"plain": "until: unseen", "ended": "until: 0.01", "relearned": "until: unseen, relearner: 2"}
    first = {}
    for name, way in ways.items():
        settings = [method, "data.holdout=holdout.jsonl", f"run={{steps: 1, forget_batch: 2, retain_batch: 4, {way}}}"]
        assert run(read(recipe(), settings), tmp_path / name)["status"] == "done"
        first[name] = json.loads((tmp_path / name / "steps.jsonl").read_text().splitlines()[0])["losses"]
    assert first["plain"][0] != 0 and first["ended"][0] == 0, "what is known no better than the level has no loss"
    assert first["relearned"][0] not in (0, first["plain"][0]), "read at other weights"
    assert first["plain"][1] == first["ended"][1] == first["relearned"][1]


def test_the_command_from_run_to_report(recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = recipe(), tmp_path / "out"
    rows = (tmp_path / "facts.jsonl").read_text().replace("As a Kyiv guide.", "As a <b>Kyiv</b> guide.")
    (tmp_path / "facts.jsonl").write_text(rows)
    given = {"diagnose": [str(path)], "run": [str(path), "-o", str(out)], "evaluate": [str(out)], "report": [str(out)]}
    for name, arguments in given.items():
        with pytest.raises(SystemExit) as caught:
            main([name, *arguments])
        assert caught.value.code == 0, capsys.readouterr().err
    told = capsys.readouterr()
    assert "forget_probability" in told.out and "hardness" in told.out
    page = (out / "report.html").read_text()
    assert "gaps over several trainings" in page
    assert "&lt;b&gt;Kyiv&lt;/b&gt;" in page and "<b>Kyiv</b>" not in page and "What it says" in page


def test_a_method_without_steps_and_a_probe_on_texts(recipe: Write, tmp_path: Path) -> None:
    """New adapters are zero and stay so when they are shrunk: that is refused. All else runs."""
    quiet = ["model={weights: model}", "step={name: trust}", "evaluation={quote: false, generate: 0, relearning: none}"]
    once = run(read(recipe(), [*quiet, "method={name: ssd, batch: 4, selection: 2}"]), tmp_path / "ssd")
    assert once["steps"] == 1 and once["model_before"] != once["model_after"]
    probed = run(read(recipe(), [*quiet, "method={name: eupmu, estimator: probe}"]), tmp_path / "probe")
    assert probed["status"] == "done" and probed["steps"] > 1
    with pytest.raises(ConfigurationError, match="those of new adapters are zero"):
        read(recipe(), ["method={name: ssd}", "step={name: trust}"])
