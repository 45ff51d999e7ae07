"""Small models trained from nothing, and models fine-tuned on texts, kept once they are made."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unweave.arguments import SEEDS, fault
from unweave.data.batches import moved
from unweave.errors import ConfigurationError
from unweave.execution import seeded
from unweave.extras import require
from unweave.modalities.texts.data import Plain, TextRows, texts, tokenised
from unweave.pretrained import form_sha256
from unweave.store import keep_tensors, kept_about, kept_tensors, place_of, tensors_sha256
from unweave.tasks import Language
from unweave.watch import Watch, silent

FORM = Plain("{question}\n")
_END = "<end>"  # of a text


@dataclass(frozen=True)
class TextTraining:
    """A Llama and how it is trained: AdamW without weight decay, the learning rate straight up, level, straight down.

    Args:
        epochs: passes over the rows.
        batch: rows in a step.
        lr: the highest learning rate, from a tenth to half of the steps.
        hidden: width.
        layers: depth.
        vocabulary: tokens at most.
        longest: tokens of a text, at most.

    Raises:
        ConfigurationError: numbers out of range, all of them at once.
    """

    epochs: int = 28
    batch: int = 32
    lr: float = 5e-3
    hidden: int = 64
    layers: int = 2
    vocabulary: int = 800
    longest: int = 64

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in vars(self).items() if not value > 0}
        faults = [f"text training: {name} must be above 0, found {value}" for name, value in numbers.items()]
        if self.hidden % 8:
            faults.append(f"text training: hidden must be a multiple of 8, found {self.hidden}")
        if faults:
            raise ConfigurationError(faults)


def trained_tokenizer(rows: Sequence[Mapping[str, Any]], how: TextTraining) -> Any:
    """A byte-level tokenizer for `FORM`, trained on the rows' questions and answers."""
    parts, transformers = require("tokenizers", "language"), require("transformers", "language")
    own = parts.Tokenizer(parts.models.BPE())
    own.pre_tokenizer = parts.pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = parts.decoders.ByteLevel()
    trainer = parts.trainers.BpeTrainer(
        vocab_size=how.vocabulary,
        special_tokens=[_END],
        initial_alphabet=sorted(parts.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    own.train_from_iterator([f"{row['question']}\n{row['answer']}" for row in rows], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, eos_token=_END, pad_token=_END, model_max_length=how.longest
    )


def as_tokens(rows: Sequence[Mapping[str, Any]], tokenizer: Any) -> TextRows:
    """Rows with `id`, `question` and `answer`, ready to learn or to forget."""
    return tokenised(texts(rows), tokenizer, format=FORM)


def trained_model(rows: TextRows, tokenizer: Any, how: TextTraining, seed: int = 0, watch: Watch = silent) -> nn.Module:
    """A model trained on the rows, in eval mode; torch's random state is left as it was.

    Args:
        rows: exactly what it is to learn.
        tokenizer: theirs.
        how: size and training.
        seed: of the initial weights and of the order.
        watch: told after every epoch, as the phase "training".
    """
    with seeded(seed):
        model = untrained(tokenizer, how)
    return fit(model, rows, epochs=how.epochs, batch=how.batch, lr=how.lr, seed=seed, watch=watch)


def fit(
    model: nn.Module, rows: TextRows, *, epochs: int, batch: int, lr: float, seed: int, watch: Watch = silent
) -> nn.Module:
    """Trains in place what may move of a model on the rows, and returns it in eval mode; dropout is off throughout.

    AdamW without weight decay; the learning rate rises straight for a tenth of the steps and falls straight in the
    second half; the gradient's norm is clipped at 1.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    task, optimizer = Language(), torch.optim.AdamW(weights, lr=lr, weight_decay=0.0, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(seed)
    device, per_epoch = weights[0].device, -(-len(rows) // batch)
    orders = (torch.randperm(len(rows), generator=generator) for _ in range(epochs))
    steps = [chosen for order in orders for chosen in order.tensor_split(per_epoch)]
    for number, chosen in enumerate(steps):
        if number % per_epoch == 0:
            watch("training", number // per_epoch, epochs)
        done = number / len(steps)
        optimizer.param_groups[0]["lr"] = lr * min(1.0, (number + 1) / (0.1 * len(steps)), 2 * (1 - done))
        loss = task.nll(model, moved(rows.batch(chosen), device)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    watch("training", epochs, epochs)
    optimizer.zero_grad()
    return model.eval()


def untrained(tokenizer: Any, how: TextTraining) -> nn.Module:
    """The model before it learns, from torch's random state."""
    transformers = require("transformers", "language")
    heads = how.hidden // 16 or 1
    end = tokenizer.eos_token_id
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=how.hidden,
        intermediate_size=2 * how.hidden,
        num_hidden_layers=how.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=how.longest,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=end,
    )
    model: nn.Module = transformers.LlamaForCausalLM(config)
    return model


VERSION = 1
"""Part of every fingerprint: raise it when a change of this file or of `fit` changes the weights it gives."""


@dataclass(frozen=True)
class Finetuning:
    """How a recipe's `model.base` learns the data: AdamW without weight decay, on what may move of it.

    Args:
        epochs: passes over the texts.
        batch: texts in a step.
        lr: the highest learning rate, from a tenth to half of the steps; then straight to 0.
        seed: of the order.

    Raises:
        ConfigurationError: numbers out of range, all of them at once.
    """

    epochs: int = 5
    batch: int = 16
    lr: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = {"epochs": self.epochs, "batch": self.batch, "lr": self.lr}
        faults = [f"training.{name} must be above 0, found {n}" for name, n in numbers.items() if not n > 0]
        faults += [f"training.{text}" for text in [fault("seed", self.seed, int, SEEDS)] if text]
        if faults:
            raise ConfigurationError(faults)

    def examples(self, count: int) -> int:
        """That a training goes through, of a set of so many."""
        return self.epochs * count


def beginning(model: nn.Module) -> dict[str, str]:
    """What of a model decides what fine-tuning makes of it: weights, which of them may move, and its configuration."""
    moving = "\n".join(sorted(name for name, p in model.named_parameters() if p.requires_grad))
    digest = hashlib.sha256(moving.encode()).hexdigest()
    return {"model": tensors_sha256(model.state_dict()), "moving": digest, "form": form_sha256(model)}


def noted(begun: Mapping[str, str], rows: TextRows, how: Finetuning) -> Mapping[str, Any] | None:
    """What the cache notes of the fine-tuning of a model that began so (`beginning`), its `seconds` among it."""
    return kept_about(place_of(_about(begun, rows, how)))


def _about(begun: Mapping[str, str], rows: TextRows, how: Finetuning) -> dict[str, Any]:
    return {"version": VERSION, **begun, "data": rows.fingerprint(), "training": asdict(how)}


def finetuned(
    model: nn.Module, rows: TextRows, how: Finetuning, phase: str, watch: Watch = silent, cache: Path | None = None
) -> float:
    """Fine-tunes the model in place on the rows; what moved is read from the cache if the same was done before.

    Args:
        model: what may move of it requires a gradient.
        rows: exactly what it is to learn.
        how: the training.
        phase: what `watch` is told.
        watch: told about every epoch.
        cache: folder; None is `models` in the user's cache folder.

    Returns:
        How many seconds the training took, when it was done.
    """
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    about = _about(beginning(model), rows, how)
    path = place_of(about, cache)
    spent, kept = kept_about(path), kept_tensors(path)
    watch(phase, 0, how.epochs)
    if spent is None or kept is None:
        begin = time.perf_counter()
        fit(model, rows, **asdict(how), watch=lambda _, done, total: watch(phase, done, total))
        spent = {"seconds": time.perf_counter() - begin}
        keep_tensors(path, weights, about | spent)
    else:
        with torch.no_grad():
            for name, p in weights.items():
                p.copy_(kept[name])
    watch(phase, how.epochs, how.epochs)
    model.eval()
    return float(spent["seconds"])
