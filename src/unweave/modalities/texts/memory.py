"""How much memory a run on texts will need, from the model's configuration alone: nothing is downloaded for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from unweave.extras import require
from unweave.methods import REMEMBERING, divided, made
from unweave.modalities.texts.data import TextRows
from unweave.modalities.texts.recipe import TextRecipe
from unweave.oneshot import CATALOGUE, ONESHOT, OneShot
from unweave.parameters import choose
from unweave.pretrained import NO_CODE, Lora, adapt
from unweave.recipe.faults import defaults
from unweave.repair import wanted
from unweave.rules import GradientRule, LossRule
from unweave.tasks import Language

FLOAT, HALF = 4, 2  # bytes of what moves and of all that is kept for it; of bfloat16
_STATES = {"trust": 1, "sgd": 0, "adam": 2, "adamw": 2}  # numbers per weight that a step length keeps; momentum is one


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a step, by what they are for.

    Attributes:
        weights: of the model: float32 where they move, the recipe's type elsewhere.
        gradients: one of each side for rules that compare them, one in all for the others; without steps, one and two
            importances.
        optimizer: its moments; of the trust region, the weights to go back to.
        contract: the last kept and the best state.
        repair: the averages of both gradients, lean in bfloat16; without a contract the best state too.
        relearner: copies of what moves, where a forget loss is read at other weights than the model's.
        reference: a frozen copy, where the method needs one beside a model that moves as a whole.
        activations: of one micro-batch, and its logits.
    """

    weights: int
    gradients: int
    optimizer: int
    contract: int
    repair: int
    relearner: int
    reference: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))

    def text(self, available: int | None = None) -> str:
        """In words; `available` is what the device has."""
        parts = ", ".join(f"{field.name} {_size(getattr(self, field.name))}" for field in fields(self))
        there = "" if available is None else f" of {_size(available)} here"
        short = available is not None and self.total > available
        ways = "lora, checkpointing, run.repair=lean or false" if self.repair else "lora, checkpointing"
        end = f". MORE THAN THERE IS: use {ways} or a larger run.micro (docs/language-models.md)"
        return f"memory          about {_size(self.total)}{there} at the peak of a step: {parts}{end if short else ''}"


def estimate(recipe: TextRecipe, config: Any, forget: TextRows, retain: TextRows) -> Memory:
    """The memory of a recipe's steps, roughly: weights to a per cent, activations to a factor of 1.5.

    Args:
        recipe: whose model, method, step and batches count.
        config: of the model, as `transformers` reads it.
        forget, retain: the longest texts of a step are theirs.
    """
    model, settings = recipe.model, recipe.run
    empty = _empty(config)
    whole = sum(p.numel() for p in empty.parameters())
    adapted = model.lora is not None or model.adapter is not None
    name, arguments = recipe.method.name, recipe.method.arguments
    once = name in ONESHOT
    method = OneShot(name).read(Language()) if once else made(name, Language(), empty, None, arguments)
    names = {name, (divided(arguments)[1] or ("",))[0]}
    copies = 0 if adapted or names & REMEMBERING else _kept(method.forget) + _kept(method.retain)
    if adapted:
        adapt(empty, Lora() if model.lora is None else Lora(**model.lora.model_dump()))
    with choose(empty, model.parameters):
        moving = sum(p.numel() for p in empty.parameters() if p.requires_grad)
    gradients = 2 if isinstance(method.rule, GradientRule) else 1 if isinstance(method.rule, LossRule) else 3
    gradients, micro = (3, 1) if once else (gradients, settings.micro)
    frozen = torch.empty((), dtype=getattr(torch, model.dtype)).element_size()
    states = _STATES[recipe.step.name] + bool(recipe.step.arguments.get("momentum"))
    sides = ((forget, settings.forget_batch), (retain, settings.retain_batch))
    if once:
        size = int((defaults(CATALOGUE[name]) | arguments)["batch"])
        sides = ((forget, size), (retain, size))
    judged = recipe.contract is not None
    repairs = wanted(settings.repair, contract=judged, trust=recipe.step.name == "trust" and not once)
    return Memory(
        weights=(whole if adapted else whole - moving) * frozen + moving * FLOAT,
        gradients=gradients * moving * FLOAT,
        optimizer=states * moving * FLOAT,
        contract=2 * moving * FLOAT if judged else 0,
        repair=moving * (2 * (HALF if settings.repair == "lean" else FLOAT) + (0 if judged else FLOAT))
        if repairs
        else 0,
        relearner=4 * moving * FLOAT if settings.relearner else 0,
        reference=copies,
        activations=max(
            activations(
                config,
                tokens=(texts := -(-min(batch, len(rows)) // micro)) * int(rows.bounds.diff().max()),
                answers=texts * int(rows.amounts.max()),
                width=2 if settings.precision == "bfloat16" else FLOAT,
                checkpointing=model.checkpointing,
            )
            for rows, batch in sides
        ),
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


def available(device: torch.device) -> int | None:
    """Bytes of memory that a device has; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _empty(config: Any) -> nn.Module:
    """The model without its numbers."""
    with torch.device("meta"):
        made: nn.Module = require("transformers", "language").AutoModelForCausalLM.from_config(config, **NO_CODE)
    return made.eval()


def _kept(loss: object) -> int:
    """Bytes of the models that a loss keeps."""
    held = vars(loss).values() if hasattr(loss, "__dict__") else ()
    return sum(p.numel() * FLOAT for each in held if isinstance(each, nn.Module) for p in each.parameters())


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


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"
