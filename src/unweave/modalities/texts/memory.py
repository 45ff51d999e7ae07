"""How much memory a run on texts will need, from the model's configuration alone: nothing is downloaded for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from unweave.extras import require
from unweave.methods import REMEMBERING, divided
from unweave.modalities.memory import FLOAT, Memory, kept_by, method_of, moving_of, peak
from unweave.modalities.texts.data import TextRows
from unweave.modalities.texts.recipe import TextRecipe
from unweave.oneshot import CATALOGUE, ONESHOT
from unweave.pretrained import NO_CODE, Lora, adapt
from unweave.recipe.faults import defaults
from unweave.tasks import Language

WIDTHS = {"int8": 1.0, "nf4": 0.5 + FLOAT / 64}
"""Bytes of a quantised weight, its share of a scale with it."""


def estimate(recipe: TextRecipe, config: Any, forget: TextRows, retain: TextRows) -> Memory:
    """The memory of a recipe's steps, roughly: weights to a per cent, activations to a factor of 1.5.

    Args:
        recipe: whose model, method, step and batches count.
        config: of the model, as `transformers` reads it.
        forget, retain: the longest texts of a step are theirs.
    """
    model, settings = recipe.model, recipe.run
    empty = _empty(config)
    whole, linear = sum(p.numel() for p in empty.parameters()), _linear(empty)
    adapted = model.lora is not None or model.adapter is not None
    name = recipe.method.name
    arguments, once = recipe.method.arguments, name in ONESHOT
    names = {name, (divided(arguments)[1] or ("",))[0]}
    method = method_of(recipe, Language(), empty)
    copies = 0 if adapted or names & REMEMBERING else kept_by(method)
    if adapted:
        adapt(empty, Lora() if model.lora is None else Lora(**model.lora.model_dump()))
    tensors = moving_of(empty, model.parameters)
    moving = sum(tensors)
    frozen = torch.empty((), dtype=getattr(torch, model.dtype)).element_size()
    saved = 0 if model.quantised is None else linear * (frozen - WIDTHS[model.quantised])
    micro = 1 if once else settings.micro
    sides = ((forget, settings.forget_batch), (retain, settings.retain_batch))
    if once:
        size = int((defaults(CATALOGUE[name]) | arguments)["batch"])
        sides = ((forget, size), (retain, size))
    each = [
        activations(
            config,
            tokens=(texts := -(-min(batch, len(rows)) // micro)) * int(rows.bounds.diff().max()),
            answers=texts * int(rows.amounts.max()),
            width=2 if settings.precision == "bfloat16" else FLOAT,
            checkpointing=model.checkpointing,
        )
        for rows, batch in sides
    ]
    return peak(
        recipe,
        method,
        tensors,
        weights=round((whole if adapted else whole - moving) * frozen - saved) + moving * FLOAT,
        relearner=4 * moving * FLOAT if settings.relearner else 0,
        reference=copies,
        activations=max(each),
        together=micro * sum(each),
    )


def activations(config: Any, *, tokens: int, answers: int, width: int, checkpointing: bool) -> int:
    """Bytes that one forward pass of a decoder keeps for its backward pass, with fused attention.

    Of every token a block keeps what its matrices and products are given: about `9 h + 4 i + 4 k` numbers, with `h` the
    model's width, `i` that of the feed-forward part and `k` that of keys; recomputed blocks keep `h`, and one of them
    all. At every answer token, logits and their softmax are float32 whatever the width.

    Args:
        config: of the model.
        tokens: in the micro-batch, padding included.
        answers: tokens that are predicted.
        width: bytes of a number in a pass.
        checkpointing: blocks are recomputed.
    """
    named = _named(config)
    block = 9 * named["h"] + 4 * named["i"] + 4 * named["k"]
    kept = named["layers"] * named["h"] + block if checkpointing else named["layers"] * block
    return tokens * kept * width + 2 * answers * named["vocabulary"] * FLOAT


def _empty(config: Any) -> nn.Module:
    """The model without its numbers."""
    with torch.device("meta"):
        made: nn.Module = require("transformers", "language").AutoModelForCausalLM.from_config(config, **NO_CODE)
    return made.eval()


def _linear(model: Any) -> int:
    """Elements of the linear layers but the head: those that are quantised."""
    head = model.get_output_embeddings()
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear) and m is not head)


def _named(config: Any) -> Mapping[str, int]:
    """The sizes that count; GPT-2 calls them by other names."""
    text = config.get_text_config()

    def first(*names: str, default: int = 0) -> int:
        found = (getattr(text, name, None) for name in names)
        return next((value for value in found if isinstance(value, int)), default)

    h, heads = first("hidden_size", "n_embd"), first("num_attention_heads", "n_head", default=1)
    head = first("head_dim", default=h // heads)
    return {
        "h": h,
        "i": first("intermediate_size", "n_inner", "ffn_dim", default=4 * h),
        "k": first("num_key_value_heads", default=heads) * head,
        "layers": first("num_hidden_layers", "n_layer"),
        "vocabulary": first("vocab_size"),
    }
