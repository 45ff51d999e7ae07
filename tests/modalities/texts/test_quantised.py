"""Adapters over a base in 8 or 4 bits: a run, its resumption, its scores, and what is merged."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import unweave
from tests.modalities.texts._world import RECIPE, made
from unweave.cli import main
from unweave.errors import ConfigurationError
from unweave.modalities import job, read
from unweave.modalities.texts import memory
from unweave.modalities.texts.models import config_of
from unweave.parameters import UNTRAINED, choose
from unweave.pretrained import Lora, load
from unweave.run.runner import run

Write = Callable[..., Path]
KINDS = pytest.mark.parametrize("kind", ["int8", "nf4"])
PLAIN = ("evaluation.relearning=none", "evaluation.generate=0")


@pytest.fixture
def recipe(tmp_path: Path) -> Write:
    """As the others', over a model as wide as 4 bits ask for: 64 numbers have one scale."""
    made(tmp_path, hidden_size=64, intermediate_size=64)

    def write(text: str = RECIPE) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


def has(kind: str) -> None:
    pytest.importorskip({"int8": "torchao", "nf4": "bitsandbytes"}[kind])


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_only_what_is_frozen_can_be_integers(recipe: Write, tmp_path: Path, kind: Any) -> None:
    recipe()
    with pytest.raises(ConfigurationError, match=r"is for frozen weights: .* lora=Lora\(\)"):
        load(tmp_path / "model", quantised=kind)


def test_the_estimate_knows_the_bits(recipe: Write) -> None:
    """Of the linear layers; the embedding and the head stay as they are."""

    def weights(*changes: str) -> int:
        wanted = read(recipe(), list(changes))
        made: Any = job(wanted)
        return memory.estimate(wanted, config_of(wanted.model), made.forget, made.retain).weights  # type: ignore[arg-type, attr-defined]

    kinds = ("model.dtype=float32", "model.dtype=bfloat16", "model.quantised=int8", "model.quantised=nf4")
    whole, half, int8, nf4 = map(weights, kinds)
    assert whole > half and whole > int8 > nf4
    linear = (whole - int8) / 3
    assert (whole - nf4) / linear == pytest.approx(4 - 0.5 - 4 / 64, abs=1e-6)


@pytest.mark.quantised
@KINDS
def test_a_run_over_a_quantised_base(recipe: Write, tmp_path: Path, kind: str) -> None:
    has(kind)
    wanted = read(recipe(), [f"model.quantised={kind}", *PLAIN])
    run(wanted, tmp_path / "run")
    left = load_file(tmp_path / "run" / "model" / "adapter_model.safetensors")
    assert left and all("lora_" in name for name in left)
    assert any(bool(tensor.any()) for name, tensor in left.items() if "lora_B" in name)
    run(read(recipe(), [*PLAIN]), tmp_path / "plain")
    sheets = (json.loads((tmp_path / name / "scores.json").read_text())["models"] for name in ("run", "plain"))
    own, other = (each["original"]["forget_probability"]["value"] for each in sheets)
    assert own != other and own == pytest.approx(other, abs=0.1), "it is the same model, rounded"


@pytest.mark.quantised
@KINDS
def test_what_is_merged_is_what_the_base_was_made_of(
    recipe: Write, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    has(kind)
    run(read(recipe(), [f"model.quantised={kind}", *PLAIN]), tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "out"), "--merge", "--no-scores"])
    assert not ended.value.code, capsys.readouterr().err
    base, merged = (load(tmp_path / name)[0].state_dict() for name in ("model", "out"))
    adapters = load_file(tmp_path / "run" / "model" / "adapter_model.safetensors")
    moved = {name for name in base if not torch.equal(base[name], merged[name])}
    assert len(moved) == len(adapters) // 2
    for name in moved:
        a, b = (adapters[f"base_model.model.{name.removesuffix('.weight')}.lora_{side}.weight"] for side in "AB")
        torch.testing.assert_close(merged[name], base[name] + 4 * b @ a, rtol=1e-5, atol=1e-6)  # alpha / rank = 16 / 4


@pytest.mark.quantised
@KINDS
def test_a_base_of_integers_is_exported_with_its_scores(recipe: Write, tmp_path: Path, kind: str) -> None:
    """Not merged: the adapters are rounded to 8 and 4 bits, the integers stay."""
    has(kind)
    run(read(recipe(), [f"model.quantised={kind}", *PLAIN]), tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "out")])
    assert not ended.value.code
    assert {"exported", "int8", "int4"} <= json.loads((tmp_path / "out" / "export.json").read_text())["models"].keys()


@pytest.mark.quantised
@KINDS
def test_gradients_are_those_of_the_rounded_weights(recipe: Write, tmp_path: Path, kind: Any) -> None:
    """In eval mode, as steps are made: those of adapters over the same weights in float32."""
    has(kind)
    recipe()
    integers, plain = (load(tmp_path / "model", lora=Lora(rank=4), quantised=each)[0] for each in (kind, None))
    adapters = {name: p for name, p in integers.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for name, parameter in adapters.items():
            parameter.normal_(std=0.02, generator=torch.Generator().manual_seed(len(name)))
        plain.load_state_dict(adapters, strict=False)
        checked = 0
        for name, module in integers.named_modules():
            if hasattr(module, "base_layer"):
                plain.get_submodule(name).base_layer.weight.copy_(rounded(module.base_layer.weight, kind))
                checked += 1
    assert checked == 14
    ids = torch.randint(2, 30, (3, 9), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}
    losses, gradients = [], []
    for model in (integers, plain):
        loss = unweave.Language().nll(model, batch).mean()
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert gradients[0].keys() == gradients[1].keys() == adapters.keys()
    for name, own in gradients[0].items():
        torch.testing.assert_close(own, gradients[1][name], rtol=1e-3, atol=1e-5)


def rounded(weight: Any, kind: str) -> torch.Tensor:
    if kind == "int8":
        return weight.dequantize()  # type: ignore[no-any-return]
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, weight.quant_state)  # type: ignore[no-any-return]


@pytest.mark.quantised
def test_a_model_whose_gradients_would_be_wrong_is_refused(recipe: Write, tmp_path: Path) -> None:
    has("nf4")
    recipe()
    model, _ = load(tmp_path / "model", lora=Lora(), quantised="nf4")
    layers = [m for m in model.modules() if hasattr(m, UNTRAINED)]
    with choose(model):
        assert layers and not any(getattr(m, UNTRAINED) for m in layers)
    for layer in layers:
        setattr(layer, UNTRAINED, True)
    with pytest.raises(ConfigurationError, match="wrong gradients through 4-bit weights"), choose(model):
        pass


@pytest.mark.quantised
def test_a_run_goes_on_where_it_stopped(recipe: Write, tmp_path: Path) -> None:
    """A checkpoint holds what moves alone, and leads to where one run would have led."""
    has("nf4")
    wanted = read(recipe(), ["model.quantised=nf4", *PLAIN])

    def interrupt(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("unlearning", 2):
            os.kill(os.getpid(), signal.SIGINT)

    assert run(wanted, tmp_path / "cut", watch=interrupt)["steps"] == 2
    [held] = (tmp_path / "cut").glob("checkpoint*")
    names = {name for file in [held, *held.rglob("*")] if file.suffix == ".safetensors" for name in load_file(file)}
    assert any("lora_" in name for name in names) and not any("base_layer" in name for name in names)
    run(wanted, tmp_path / "cut", resume=True)
    run(wanted, tmp_path / "whole")
    cut, whole = (load_file(tmp_path / name / "model" / "adapter_model.safetensors") for name in ("cut", "whole"))
    assert cut.keys() == whole.keys() and all(torch.equal(cut[name], whole[name]) for name in whole)
