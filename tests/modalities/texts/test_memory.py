"""The estimate of memory against what small models really hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests._texts import llama
from unweave import modalities
from unweave.modalities import read
from unweave.modalities.memory import Memory
from unweave.modalities.texts.memory import activations, estimate
from unweave.pretrained import Lora, adapt
from unweave.tasks import Language

Write = Callable[..., Path]
TEXTS, LENGTH, ANSWER = 8, 64, 16


def batch(vocabulary: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(1, vocabulary, (TEXTS, LENGTH))
    labels = ids.clone()
    labels[:, : LENGTH - ANSWER] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def held(model: nn.Module, vocabulary: int) -> int:
    """Bytes that autograd keeps of a forward pass, the weights aside."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: list[torch.Tensor] = []  # alive, so that no address comes twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = Language().nll(model, batch(vocabulary)).mean()
    assert loss.requires_grad
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    return sum(size for place, size in storages.items() if place not in own)


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    special = {"bos_token_id": None, "eos_token_id": 1}
    return GPT2LMHeadModel(GPT2Config(n_embd=64, n_layer=4, n_head=4, vocab_size=500, **special)).eval()


def wide() -> Any:
    return llama(layers=4, vocabulary=500, hidden_size=64, intermediate_size=192, num_attention_heads=4)


MODELS: dict[str, tuple[Callable[[], Any], bool]] = {
    "llama": (wide, False),
    "llama with lora": (lambda: adapt(wide(), Lora()), False),
    "llama recomputed": (wide, True),
    "gpt2": (gpt2, False),
}


@pytest.mark.parametrize("name", MODELS)
def test_activations_within_a_factor_of_one_and_a_half(name: str) -> None:
    make, checkpointing = MODELS[name]
    model = make()
    if checkpointing:
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    sizes = {"tokens": TEXTS * LENGTH, "answers": TEXTS * ANSWER, "width": 4}
    found = activations(model.config, **sizes, checkpointing=checkpointing)
    real = held(model, 500)
    if checkpointing:  # the block that is recomputed comes in the backward pass
        found -= activations(model.config, **{**sizes, "answers": 0}, checkpointing=False) // 4
    assert real / 1.5 < found < 1.5 * real, (found, real)


def made(path: Path, *changes: str) -> Memory:
    recipe = read(path, changes)
    job: Any = modalities.job(recipe)
    return estimate(recipe, modalities.original(recipe, job).config, job.forget, job.retain)


def test_what_is_kept_for_each_weight(recipe: Write) -> None:
    settings = read(recipe())
    model = modalities.original(settings, modalities.job(settings))
    moving = 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = 4 * sum(p.numel() for p in model.parameters())
    lora = made(recipe())  # npo, remembered; adamw; no contract
    assert (lora.weights, lora.gradients, lora.optimizer, lora.contract, lora.reference) == (
        *(whole, moving, 2 * moving),
        *(0, 0),
    )
    base = whole - moving
    half = made(recipe(), "model.dtype=bfloat16")
    assert half.weights == base // 2 + moving
    hamu = made(
        recipe(), "method.name=hamu_q", "step={name: trust}", "contract={keep: []}", "data.holdout=holdout.jsonl"
    )
    assert (hamu.gradients, hamu.optimizer, hamu.contract) == (2 * moving, moving, 2 * moving)
    asked = made(recipe(), "run.repair=true")
    assert (lora.packs, hamu.packs) == (0, 4 * moving), "two copies in float64 of tensors that are all small"
    assert made(recipe(), "run.repair=true").packs == 4 * moving, "a repair compares gradients too"
    assert (lora.repair, hamu.repair, asked.repair) == (0, 2 * moving, 3 * moving)
    assert made(recipe(), "run.repair=lean").repair == 2 * moving, "two bytes of four, and the best state"
    assert (lora.relearner, made(recipe(), "run.relearner=2").relearner) == (0, 4 * moving)
    full = made(recipe(), "model={weights: model}", "method.name=kl")
    assert (full.weights, full.gradients, full.reference) == (base, base, base), "a frozen copy"
    small, large = (
        made(recipe(), "model={weights: model}", f"method={{name: ssd, batch: {n}}}", "step={name: trust}")
        for n in (2, 8)
    )
    assert (small.gradients, small.optimizer, small.reference) == (3 * base, base, 0)
    assert small.activations < large.activations
    part = made(recipe(), "model={weights: model, parameters: ['*.mlp.*']}", "method.name=npo")
    assert part.weights == base and 0 < part.gradients < base and part.reference == 0


def test_it_is_said_before_anything_is_loaded(recipe: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    job = modalities.job(read(recipe()))
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", None)
    text = job.memory()
    assert text is not None and text.startswith("memory          about ") and "gradients" in text and " here" in text
    short = Memory(1, 1, 1, 1, 1, 1, 1, 1, 1).text(5, "lora", "docs/language-models.md")
    assert "MORE" not in text and "MORE THAN THERE IS: use lora" in short
