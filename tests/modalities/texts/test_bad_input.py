"""Bad input of texts: one clear message that says what to do, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from unweave.cli import main

Write = Callable[..., Path]


@dataclass(frozen=True)
class Case:
    """Overrides of a good recipe, what the message has to say, and what else is prepared in its folder."""

    overrides: tuple[str, ...]
    says: tuple[str, ...]
    prepare: Callable[[Path], None] = lambda folder: None


def rewritten(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        (folder / name).write_text(change((folder / name).read_text()))

    return prepare


def written(name: str, text: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        (folder / name).write_text(text)

    return prepare


def added(**row: str) -> Callable[[Path], None]:
    return rewritten("facts.jsonl", lambda text: f"{text}\n{json.dumps(row)}")


def without(pattern: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        for path in (folder / "model").glob(pattern):
            path.unlink()

    return prepare


def configured(**more: Any) -> Callable[[Path], None]:
    return rewritten("model/config.json", lambda text: json.dumps({**json.loads(text), **more}))


def everything(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "facts.jsonl").read_text().splitlines()]
    (folder / "all.txt").write_text("\n".join(row["id"] for row in rows))


CASES = {
    "no chat template": Case((), ("no chat template", "data.format: "), without("chat_template.jinja")),
    "an answer longer than the context": Case(
        (),
        ("forget: 1 of 4 texts are longer than 128 tokens (Ana/born)", "too_long"),
        rewritten("facts.jsonl", lambda text: text.replace("In Lima.", "In Lima. " * 80)),
    ),
    "a generated answer longer than the context": Case(
        ("evaluation.generate=120",),
        ("120 generated tokens do not fit behind the prompts of", "has 128", "evaluation.generate"),
    ),
    "an answer that fits, and not behind what the prefix attack gives away": Case(
        ("evaluation.generate=83",), ("forget_prefixed: 83 generated tokens do not fit", "Ask for 78 at most")
    ),
    "an empty answer": Case(
        (), ("1 texts (Ana/born)", "empty answer"), rewritten("facts.jsonl", lambda t: t.replace("In Lima.", " "))
    ),
    "ids that are not there": Case(
        (),
        ("1 of 5 ids are of no text (Ana/dorn)", "Did you mean 'Ana/born'?"),
        rewritten("request.txt", lambda t: t + "Ana/dorn\n"),
    ),
    "forget rows inside retain": Case(
        (),
        ("must share no example", "forget[0] = retain[20]"),
        added(id="twin", question="born: Ana?", answer="In Lima."),
    ),
    "forget rows inside retain, but for case and punctuation": Case(
        (),
        ("must share no example", "forget[0] = retain[20]"),
        added(id="twin", question="BORN - Ana", answer="in lima!"),
    ),
    "a forget file of rows that are also kept": Case(
        ("forget={file: gone.jsonl}",),
        ("gone.jsonl", "1 ids are also in facts.jsonl"),
        written("gone.jsonl", json.dumps({"id": "Ana/born", "question": "q", "answer": "a"})),
    ),
    "everything forgotten": Case(("forget={ids: all.txt}",), ("retain set", "found 0"), everything),
    "a column that is not there": Case(
        ("data.columns=[frage, answer]",), ("no column 'frage'", "Columns: id, question, answer")
    ),
    "a line that is no JSON": Case(
        (), ("facts.jsonl", "line 2"), rewritten("facts.jsonl", lambda t: t.replace("\n", "\n{", 1))
    ),
    "no such file": Case(("data.path=fakts.jsonl",), ("no such file or folder", "fakts.jsonl")),
    "a model folder without weights": Case((), ("holds no weights", "model.safetensors"), without("*.safetensors")),
    "a folder that is no model": Case(("model.weights=.",), ("is no model folder", "config.json")),
    "a model folder that is not there": Case(("model.weights=modell",), ("no such file or folder", "modell")),
    "a name that the hub does not have": Case(
        ("model.weights=nobody/nothing",), ("nobody/nothing could not be loaded", "check the name and the connection")
    ),
    "a data set that the hub does not have": Case(
        ("data.path=nobody/nothing",), ("nobody/nothing", "could not be read from the hub")
    ),
    "a LoRA target that matches nothing": Case(
        ("model.lora={targets: [q_prj]}",), ("no layer is named 'q_prj'", "Did you mean 'q_proj'?")
    ),
    "a pattern of targets that matches nothing": Case(("model.lora={targets: qkv}",), ("LoRA cannot be put on", "qkv")),
    "a quantised model": Case(
        ("model={weights: model}",),
        ("is quantised: its weights cannot move", "model.lora"),
        configured(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
    ),
    "half precision without adapters": Case(("model={weights: model, dtype: bfloat16}",), ("kept in float32", "lora")),
    "adapters and weights": Case(("model.parameters=[lm_head*]",), ("model.parameters: adapters are what moves",)),
    "adapters new and old": Case(("model.adapter=model",), ("model.adapter: lora makes new adapters",)),
    "no model": Case(("model={lora: {}}",), ("model: expected weights (the model to unlearn) or base",)),
    "rows that are not there": Case(("forget={indices: far.txt}",), ("below 24", "99"), written("far.txt", "99")),
    "training without a base": Case(("training.epochs=3",), ("training: is how model.base is fine-tuned",)),
    "bfloat16 without a GPU": Case(("run.precision=bfloat16", "run.device=cpu"), ("bfloat16 is for GPUs",)),
    "keys of images": Case(
        ("forget.class=3", "model.network=resnet18"),
        ("forget.class: is for images", "Use ids, indices, file, random or split", "model.network: is for images"),
    ),
    "a request beside several": Case(("requests=[{random: 0.5}]",), ("exactly one of forget, requests",)),
    "several requests on a benchmark": Case(
        ("data={source: tofu}", "forget=null", "requests=[{split: forget01}]"),
        ("several requests in a row are for texts of your own",),
    ),
    "earlier requests in other forms": Case(
        ("already=[{class: 3}, {file: request.txt}, {split: forget01}]",),
        ("already.0.class: is for images", "already.1.file: requests in a row", "already.2.split: the source 'texts'"),
    ),
    "a split of one's own texts": Case(("forget={split: forget01}",), ("'texts' takes ids, indices, file or random",)),
    "a split that TOFU does not have": Case(
        ("data={source: tofu, path: .}", "forget={split: forget02}"), ("must be one of forget01, forget05, forget10",)
    ),
    "ids of a benchmark": Case(("data={source: tofu, path: .}",), ("'tofu' takes split",)),
    "a folder without TOFU": Case(
        ("data={source: tofu, path: .}", "forget={split: forget01}"), ("holds no table for config=forget01",)
    ),
    "a prompt without its question": Case(
        ("data.format=Hello",), ("'format' must be chat, or a prompt with {question} in it",)
    ),
    "refusals that are not there": Case(("method.name=dpo",), ("alternates", "data.refusals")),
    "over a method that is not there": Case(
        ("method.over=npoo",), ("method.over: unknown method 'npoo'", "Did you mean 'npo'?")
    ),
    "over a method with another hyperparameter": Case(
        ("method.over={name: simnpo, bet: 1}",), ("method.over.bet: unknown key", "It takes: beta, delta")
    ),
    "over a method that does not forget": Case(
        ("method={name: hamu_q, over: finetune}", "step={name: trust}"), ("finetune has no forget loss", "npo")
    ),
    "accuracy of texts": Case(
        ("contract={keep: [{metric: accuracy, absolute: 0.1}], forget: []}",),
        ("'accuracy' is of classes, and this task has none", "perplexity"),
    ),
    "a holdout that is trained on": Case(
        ("data.holdout=facts.jsonl",), ("data.holdout: expected examples that no step trains on, found 24 of 24",)
    ),
    "unseen without a holdout": Case(
        ("contract={keep: [], forget: [unseen]}",),
        ("'unseen' compares with examples that the model was never trained on",),
    ),
    "an end at the level of no texts": Case(
        ("run.until=unseen", "contract=none"), ("run.until: 'unseen' is the level of texts that the model was never",)
    ),
    "an unknown key of the fine-tuning": Case(
        ("model={base: base}", "training.epoch=3"), ("training.epoch: unknown key", "Did you mean 'epochs'?")
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case, path = CASES[name], recipe()
    case.prepare(tmp_path)
    before = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}
    with pytest.raises(SystemExit) as caught:
        main(["run", str(path), *(part for each in case.overrides for part in ("-s", each))])
    captured = capsys.readouterr()
    assert caught.value.code == 2 and captured.out == "", captured.err
    message = captured.err[captured.err.index("error: ") :]
    assert not [part for part in case.says if part not in message], message
    assert "Traceback" not in message and "pydantic" not in message and message.count("error: ") == 1
    there = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}
    assert there == before, "nothing lost, and nothing begun"


def test_a_gated_model(recipe: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def gated(*_: Any, **__: Any) -> None:
        raise OSError("You are trying to access a gated repo.\nMake sure to have access to it.")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", gated)
    with pytest.raises(SystemExit) as caught:
        main(["run", str(recipe()), "-s", "model.weights=some/gated"])
    assert (
        caught.value.code == 2
        and "accept its terms on its page and log in with `hf auth login`" in capsys.readouterr().err
    )
