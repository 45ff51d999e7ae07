"""A run's model as other servers load it: merged, whole, and what rounding its weights brings back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests._texts import llama, lora
from unweave import pretrained
from unweave.cli import main
from unweave.modalities import read
from unweave.pretrained import load, merged
from unweave.run.runner import run


def command(*arguments: object) -> int:
    try:
        main([str(each) for each in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture
def done(recipe: Callable[..., Path], tmp_path: Path) -> Path:
    run(read(recipe(), ["evaluation.relearning=none", "evaluation.generate=0"]), tmp_path / "run")
    return tmp_path / "run"


def test_plain_transformers_read_what_was_merged(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, written = tmp_path / "out", done / "recipe.yaml"
    written.write_text(written.read_text().replace("device: auto", "device: cuda:99"))  # it ran elsewhere
    assert "cuda:99" in written.read_text()
    assert command("export", done, "-o", out, "--gguf-ready") == 0
    told = capsys.readouterr().out
    assert {"exported", "int8", "int4"} <= set(told.replace("\n", " ").split())
    assert not list(out.glob("adapter*")) and json.loads((out / "config.json").read_text())["architectures"]
    transformers = pytest.importorskip("transformers")
    plain = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    theirs = transformers.AutoTokenizer.from_pretrained(out)
    assert not hasattr(plain, "peft_config")
    model, own = load(tmp_path / "model", adapter=done / "model")
    with torch.no_grad():
        found, expected = (m(**t("born: Ana?", return_tensors="pt")).logits for m, t in ((plain, theirs), (model, own)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    found: dict[str, Any] = json.loads((out / "export.json").read_text())
    values = {name: sheet["forget_probability"]["value"] for name, sheet in found["models"].items()}
    assert values["exported"] == pytest.approx(values["unlearned"], rel=1e-4)
    assert found["merged"] and values["int4"] != values["exported"] and len(values) == 5
    assert command("export", done, "-o", out) == 2, "nothing is written over"
    assert "expected a new folder" in capsys.readouterr().err


def test_what_was_quantised_is_merged_into_the_revision_that_it_was_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub's other revisions are other weights."""
    asked = list[tuple[Any, ...]]()

    def load(source: str, *, revision: str | None = None) -> tuple[nn.Module, None]:
        asked.append((source, revision))
        return nn.Linear(2, 2), None

    monkeypatch.setattr(pretrained, "load", load)
    for commit in ("0a1b", None):
        base = nn.Linear(2, 2)
        base.config = SimpleNamespace(_name_or_path="some/model", _commit_hash=commit)  # type: ignore[assignment]
        pretrained._merged_anew(base)
    assert asked == [("some/model", "0a1b"), ("some/model", None)]


def test_what_is_merged_is_the_sum_in_the_precision_of_the_weights() -> None:
    model = lora(llama().to(torch.bfloat16), started=True)
    own = {name: p.detach().clone() for name, p in model.named_parameters()}
    whole = dict(merged(model).named_parameters())
    checked = 0
    for name, weight in own.items():
        if "base_layer" not in name:
            continue
        a, b = (own[name.replace("base_layer", f"lora_{side}.default")] for side in "AB")
        expected = (weight.float() + 2 * b.float() @ a.float()).to(torch.bfloat16)
        plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
        torch.testing.assert_close(whole[plain], expected, rtol=2**-7, atol=0)  # the sum may round to a neighbour
        checked += 1
    assert checked == 4
    plain = llama()
    assert merged(plain) is plain


def test_what_cannot_be_exported(
    recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("export", tmp_path, "-o", tmp_path / "out") == 2
    assert "found no recipe.yaml" in capsys.readouterr().err
    recipe()
    assert command("export", tmp_path, "-o", tmp_path / "out") == 2
    assert "the run has not ended" in capsys.readouterr().err
