"""Models are loaded from folders as unlearning needs them, and what is wrong with a folder is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests._texts import batch, llama, tokenizer
from unweave.errors import ConfigurationError
from unweave.losses import AdaptersOff, Swapped, reference
from unweave.pretrained import Lora, adapt, form_sha256, load, read_config, read_tokenizer
from unweave.tasks import Language


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    llama().save_pretrained(path)
    tokenizer(["some words"]).save_pretrained(path)
    return path


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_whole_model(folder: Path) -> None:
    model, own = load(folder)
    torch.testing.assert_close(Language().nll(model, batch()), Language().nll(llama(), batch()))
    assert not model.training and own.chat_template and model.config._attn_implementation == "sdpa"
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lora_moves_in_float32_over_frozen_weights(folder: Path, dtype: torch.dtype) -> None:
    model, _ = load(folder, lora=Lora(rank=2), dtype=dtype, checkpointing=True)
    moving = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert len(moving) == 2 * 7 * 2 and all("lora_" in n and p.dtype == torch.float32 for n, p in moving.items())
    assert all(p.dtype == dtype for p in model.parameters() if not p.requires_grad)
    assert isinstance(reference(model), AdaptersOff)
    Language().nll(model, batch()).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in moving.values())
    assert any(bool(p.grad.any()) for n, p in moving.items() if "lora_B" in n)


def test_an_adapter_that_was_trained_before(folder: Path, tmp_path: Path) -> None:
    model, _ = load(folder, lora=Lora(rank=2, targets=("q_proj", "down_proj")))
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.1)
    model.save_pretrained(tmp_path)
    again, _ = load(folder, adapter=tmp_path)
    torch.testing.assert_close(Language().nll(again, batch()), Language().nll(model, batch()))
    assert sum(p.requires_grad for p in again.parameters()) == 2 * 2 * 2
    assert isinstance(reference(again), Swapped), "the model without them is not the original"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), r"holds no weights: expected model\.safetensors"),
        (lambda f: (f / "config.json").unlink(), r"is no model folder: it has no config\.json"),
        (lambda f: (f / "model.safetensors").write_bytes(b"torn"), "contents cannot be read"),
        (lambda f: [p.unlink() for p in f.glob("tok*")], "could not be loaded"),
        (
            lambda f: (f / "config.json").write_text(
                json.dumps(
                    json.loads((f / "config.json").read_text()) | {"quantization_config": {"quant_method": "gptq"}}
                )
            ),
            r"is quantised: its weights cannot move\. Pass lora=",
        ),
    ],
)
def test_what_is_wrong_with_a_folder(folder: Path, tmp_path: Path, change: Any, message: str) -> None:
    broken = copied(folder, tmp_path)
    change(broken)
    with pytest.raises(ConfigurationError, match=message):
        load(broken)


def test_what_is_wrong_with_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    with pytest.raises(ConfigurationError, match="there is no folder nowhere/of/all"):
        load("nowhere/of/all")
    for error, hint in (
        ("You are trying to access a gated repo.", "hf auth login"),
        ("We couldn't connect", "its folder"),
    ):

        def refused(*_: Any, error: str = error, **__: Any) -> None:
            raise OSError(error)

        monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refused)
        with pytest.raises(ConfigurationError, match=rf"owner/name could not be loaded: .*{hint}"):
            load("owner/name")


def test_what_is_wrong_with_the_wish(folder: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"no layer is named 'q_porj'\. Did you mean 'q_proj'\? Layers: down_proj"
    ):
        adapt(llama(), Lora(targets=("q_porj", "v_proj")))
    with pytest.raises(ConfigurationError, match=r"kept in float32, found dtype=torch\.bfloat16"):
        load(folder, dtype=torch.bfloat16)
    with pytest.raises(ConfigurationError, match="give one of them"):
        load(folder, lora=Lora(), adapter=folder)


CODE = """
from pathlib import Path
Path(__file__).with_name("ran").write_text("")
Path({mark!r}).write_text("")
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig):
    model_type = "brings-code"
class Model(LlamaForCausalLM):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""
BRINGS = {  # in which file of the folder, what is set there
    "configuration": ("config.json", {"model_type": "brings-code", "auto_map": {"AutoConfig": "own.Config"}}),
    "model": ("config.json", {"model_type": "vit", "auto_map": {"AutoModelForCausalLM": "own.Model"}}),
    "tokenizer": (
        "tokenizer_config.json",
        {"tokenizer_class": "Tokenizer", "auto_map": {"AutoTokenizer": [None, "own.Tokenizer"]}},
    ),
}


@pytest.mark.parametrize("part", BRINGS)
def test_code_that_comes_with_a_model_is_neither_run_nor_asked_about(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """A "y" on stdin would run it; nobody reads that here, and the code would leave a mark."""
    brings, mark = copied(folder, tmp_path), tmp_path / "ran"
    (brings / "own.py").write_text(CODE.format(mark=str(mark)))
    (brings / "custom_generate").mkdir()
    (brings / "custom_generate" / "generate.py").write_text(CODE.format(mark=str(mark)))
    name, change = BRINGS[part]
    (brings / name).write_text(json.dumps(json.loads((brings / name).read_text()) | change))
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    reads = {"configuration": read_config, "model": load, "tokenizer": read_tokenizer}
    checked = 0
    for read in (load, reads[part]):
        with pytest.raises(ConfigurationError, match=f"its {part} needs code .*runs no code .*trust_remote_code=True"):
            read(brings)
        checked += 1
    assert checked == 2 and not asked and not mark.exists() and not list(tmp_path.rglob("ran"))


def test_code_beside_a_model_that_does_without_is_no_matter(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brings, mark = copied(folder, tmp_path), tmp_path / "ran"
    (brings / "own.py").write_text(CODE.format(mark=str(mark)))
    config = json.loads((brings / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    (brings / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    model, _ = load(brings)
    torch.testing.assert_close(Language().nll(model, batch()), Language().nll(llama(), batch()))
    assert not mark.exists()


class _Own(nn.Module):
    """Of somebody's own: what is called `config` there may be anything."""

    def __init__(self, config: Any, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.config, self.inner = config, inner

    def save_pretrained(self) -> None:
        """As a mixin of the hub's client gives it to any module."""


def test_a_form_is_what_configurations_say_and_the_same_every_time() -> None:
    forms = [form_sha256(_Own({"width": width, "made": object()})) for width in (1, 1, 2)]
    assert forms[0] == forms[1] != forms[2], "an object is its kind, not its address"
    plain = form_sha256(nn.Linear(2, 2))
    assert form_sha256(_Own(SimpleNamespace(width=1))) == plain, "no configuration that could be read"
    wrapped = [form_sha256(_Own(None, llama(rms_norm_eps=eps))) for eps in (1e-6, 1e-2)]
    assert len({*wrapped, plain}) == 3, "of the model inside"
    adapted = [form_sha256(adapt(llama(), Lora(alpha=alpha))) for alpha in (16, 16.0, 8)]
    assert adapted[0] == adapted[1] != adapted[2]
