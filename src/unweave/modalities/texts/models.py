"""The language model that a recipe names: its tokenizer and context first, its weights when they are needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unweave.errors import ConfigurationError
from unweave.execution import seeded
from unweave.modalities.texts.data import Chat, Plain, Text
from unweave.modalities.texts.data.format import encoded
from unweave.modalities.texts.recipe import TextData, TextModel
from unweave.pretrained import Lora, load, read_config, read_tokenizer, without_bars

ADAPTER = "adapter_config.json"
_TOKENIZER, _LOOKED = "tokenizer_config.json", 20
_ENDLESS = 10**6  # a tokenizer without a limit says 1e30


def source_of(model: TextModel) -> str:
    """The folder or the name of what is loaded, adapters aside."""
    path = model.weights or model.base
    assert path is not None, "the recipe has seen to it"
    if path.is_dir() and (path / ADAPTER).is_file():
        return _base_of(path)
    return str(path) if path.is_absolute() else path.as_posix()


def loaded(model: TextModel, seed: int, adapter: Path | None = None) -> nn.Module:
    """The model as the recipe wants it; new adapters are drawn from the seed, so that they are the same every time.

    Args:
        model: of the recipe.
        seed: of the adapters.
        adapter: a folder of adapters, in the place of the recipe's.

    Raises:
        ConfigurationError: as `pretrained.load`.
    """
    given = model.weights if model.weights is not None and (model.weights / ADAPTER).is_file() else None
    if given is not None and model.lora is not None and model.base is None:
        raise ConfigurationError(
            f"model.lora makes new adapters, and model.weights, {given}, holds some to go on with: leave lora out"
        )
    old = adapter or given or model.adapter
    lora = None if model.lora is None or old is not None else Lora(**model.lora.model_dump())
    with seeded(seed), without_bars():
        made, _ = load(
            source_of(model),
            lora=lora,
            adapter=old,
            dtype=getattr(torch, model.dtype),
            quantised=model.quantised,
            checkpointing=model.checkpointing,
            revision=model.revision,
        )
    return made


def tokenizer_of(model: TextModel) -> Any:
    """The model's tokenizer.

    Raises:
        ConfigurationError: there is none, or it cannot be read.
    """
    return read_tokenizer(source_of(model), model.revision)


def config_of(model: TextModel) -> Any:
    """The model's configuration."""
    return read_config(source_of(model), model.revision)


def context_of(model: TextModel, tokenizer: Any) -> int | None:
    """How many tokens the model reads at most, by what model and tokenizer say; None if neither does."""
    own = getattr(config_of(model), "max_position_embeddings", None)
    limits = [size for size in (own, tokenizer.model_max_length) if isinstance(size, int) and size < _ENDLESS]
    return min(limits, default=None)


def form_of(data: TextData, tokenizer: Any, texts: list[Text]) -> Chat | Plain:
    """How prompts are written.

    Raises:
        ConfigurationError: a chat template is needed, and the tokenizer has none.
    """
    if data.format != "chat":
        return Plain(data.format)
    if any(text.turns for text in texts) and not getattr(tokenizer, "chat_template", None):
        raise ConfigurationError(
            "the model's tokenizer has no chat template: say how a prompt is written, for example "
            'data.format: "Question: {question}\\nAnswer: ", or give a model folder with a chat_template.jinja'
        )
    return Chat(system=data.system)


def check_tokenizer(folder: Path, own: Any, form: Chat | Plain, some: Sequence[Text]) -> None:
    """Refuses a model whose tokenizer writes texts in other numbers than the one that they were written with.

    Args:
        folder: of the model; one without a tokenizer, or with adapters alone, says nothing.
        own: the recipe's.
        form: how prompts are written.
        some: texts, of which the first are looked at.

    Raises:
        ConfigurationError: it does, or cannot be read.
    """
    if (folder / ADAPTER).is_file() or not (folder / _TOKENIZER).is_file():
        return
    other = read_tokenizer(folder)
    looked = some[:_LOOKED]
    if other.get_vocab() != own.get_vocab() or encoded(other, looked, form) != encoded(own, looked, form):
        raise ConfigurationError(
            f"{folder} is no model of this recipe: its tokenizer is another one. Give it a recipe of its own, with "
            "this folder as model.weights"
        )


def _base_of(adapter: Path) -> str:
    """What an adapter was made for."""
    try:
        name = json.loads((adapter / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{adapter / ADAPTER} cannot be read: {error}") from error
    if not name:
        raise ConfigurationError(
            f"{adapter} holds adapters and does not say for which model: give that as model.weights, and this folder "
            "as model.adapter"
        )
    return str(name)
