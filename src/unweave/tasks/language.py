"""Causal language models: token ids in, the next token's logits out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unweave.arguments import check_fields
from unweave.data.batches import Batch, check_rows
from unweave.data.twins import on_host, places
from unweave.errors import ConfigurationError
from unweave.tasks._base import Owners, Predictions, divergences
from unweave.tasks._passes import block_output, forward, takes, to_the_front

IGNORED = -100  # the label of a token that nothing is to predict


@dataclass(frozen=True)
class Language:
    """A causal language model over padded batches `{"input_ids", "attention_mask", "labels"}`, each `[b, t]`.

    Padding may be on either side: a row that begins with padding is moved to the front, so that its first token has the
    first position, as it has alone. `position_ids` of the batch's own are passed on. `labels` are the input ids where
    the token is part of the answer, its end-of-sequence token included, and -100 elsewhere; they are not shifted. Only
    these tokens count, and only for them logits are computed, where the model's forward takes
    `logits_to_keep`. Any `transformers` model fits, PEFT models too, and any module with such a forward.

    Args:
        reduction: of an example's answer tokens, for the nll, the divergence and every loss on tokens. "mean" weighs
            all answers alike, "sum" gives the log-likelihood of the answer. A mean over all tokens of a step is
            `losses.TokenWeighted`.

    Raises:
        ConfigurationError: a batch is not such a mapping, an example has no answer token, the model does not take the
            position_ids of a batch, or it returns no logits.
    """

    reduction: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        check_fields(self)

    def predictions(self, model: nn.Module, batch: Batch) -> Predictions:
        """One prediction per answer token, those of the first example first."""
        batch, known = self._read(batch)
        labels, answers = batch["labels"], known[:, 1:] != IGNORED
        # 1. Where any example of the batch predicts an answer token, and which of these places each example has.
        (keep,) = places(answers.any(0), labels.device)
        rows, columns = places(answers[:, answers.any(0)], labels.device)
        # 2. Logits there alone.
        if takes(model, "logits_to_keep"):
            logits = self._logits(forward(model, batch, logits_to_keep=keep))
        else:
            logits = self._logits(forward(model, batch))[:, keep]
        logits = logits[rows, columns]
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        return Predictions(logits, labels[rows, keep[columns] + 1], Owners(len(labels), rows, self.reduction))

    def answers(self, batch: Batch, classes: int) -> None:
        """Refuses examples without an answer, and tokens that are none of so many (0: not known)."""
        _, labels = self._read(batch)
        outside = (labels != IGNORED) & ((labels < 0) | (labels >= (classes or torch.inf)))
        if bool(outside.any()):
            raise ConfigurationError(
                f"labels must be at least 0 and below {classes or 'the size of the vocabulary'}, or {IGNORED}; found "
                f"{int(labels[outside][0])} in an example. Take the tokenizer that came with the model.",
                outside.any(1).nonzero()[:, 0].tolist(),
            )

    def nll(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean or sum of `-log p(token | what is before it)` over the answer of each example, `[b]`."""
        seen = self.predictions(model, batch)
        return seen.owners.reduced(seen.nll())

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Batch) -> Tensor:
        """Mean or sum of `KL(p_reference || p_model)` over the answer's tokens, `[b]`; the reference never trains."""
        return divergences(self, model, reference, batch)

    def token_logprobs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the tokens, `[b, t - 1]`, 0 where the mask `[b, t - 1]` says that none is asked for.

        Of rows that begin with padding both are those of the row moved to the front.
        """
        batch, _ = self._read(batch)
        seen, answers = self.predictions(model, batch), batch["labels"][:, 1:] != IGNORED
        return torch.zeros_like(answers, dtype=seen.logits.dtype).masked_scatter(answers, -seen.nll()), answers

    def states(self, model: nn.Module, batch: Batch, layer: int | None) -> tuple[Tensor, Owners]:
        """The output of block `layer` (from 0) at the answer's tokens, `[n, d]`, and their examples.

        None is the eighth block, or the middle one of a model with fewer than 16. Blocks above it and the head are not
        run, unless ranks or gradient checkpointing need the whole pass.

        Raises:
            ConfigurationError: the model has no such block below its last.
        """
        batch, known = self._read(batch)
        rows, columns = places(known != IGNORED, batch["labels"].device)
        return block_output(model, batch, layer)[rows, columns], Owners(len(known), rows, self.reduction)

    def everywhere(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits at all positions, prompt and padding included, `[b, t, V]`, and their labels `[b, t]`.

        It is what faults of other code look at.
        """
        batch, _ = self._read(batch)
        logits = self._logits(forward(model, batch))
        return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits, batch["labels"]

    def _read(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The batch with every row at the front, and its labels on the host."""
        check_rows(batch)
        keys = ("input_ids", "attention_mask", "labels")
        if not isinstance(batch, Mapping) or any(not isinstance(batch.get(k), Tensor) for k in keys):
            found = f"keys {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else type(batch).__name__
            raise ConfigurationError(
                f"task 'language' reads batches with the tensors {', '.join(keys)}, each [b, t]; found {found}. "
                "data.text.TextRows makes them from texts."
            )
        if any(batch[k].shape != batch["input_ids"].shape or batch[k].ndim != 2 for k in keys):
            found = ", ".join(f"{k} {list(batch[k].shape)}" for k in keys)
            raise ConfigurationError(f"{', '.join(keys)} must have one shape, [b, t]; found {found}.")
        labels, mask = on_host(batch["labels"]), on_host(batch["attention_mask"])
        if not bool((mask[:, 0] != 0).all()):
            batch = to_the_front(batch)
            labels = to_the_front({"labels": labels, "attention_mask": mask})["labels"]
        filled = (labels[:, 1:] != IGNORED).any(1).tolist()
        if empty := [row for row, some in enumerate(filled) if not some]:
            rows = batch["index"][empty].tolist() if "index" in batch else []
            first = f" (rows {', '.join(map(str, rows[:5]))})" if rows else ""
            raise ConfigurationError(
                f"Every example needs a token to predict; found none in {len(empty)} of {len(labels)}{first}: its "
                "answer is empty or was cut off. Remove it, or allow more tokens.",
                [] if rows else empty,
            )
        return batch, labels

    def _logits(self, output: Any) -> Tensor:
        logits = getattr(output, "logits", output)
        if not isinstance(logits, Tensor) or logits.ndim != 3:
            raise ConfigurationError(
                f"The model must return logits [b, t, vocabulary]; found {type(output).__name__}. Load it as a causal "
                "language model (AutoModelForCausalLM), or wrap it."
            )
        return logits
