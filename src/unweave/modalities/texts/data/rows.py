"""Tokenised texts: a map-style data set whose batches are padded to their longest text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from unweave.data.protocol import Indices
from unweave.errors import ConfigurationError
from unweave.modalities.texts.data.examples import Text, listed
from unweave.modalities.texts.data.format import CHAT, Format, encoded

IGNORED = -100
_ENDLESS = 10**6  # a tokenizer without a limit says 1e30


@dataclass(frozen=True, eq=False)
class TextRows(Dataset[dict[str, Any]]):
    """Texts as tokens. `tokenised` makes them.

    A batch is `{"input_ids", "attention_mask", "labels"}`, int64 `[b, t]`, right-padded, and `"index"` `[b]`: the row
    numbers. Labels are the ids of the answer and -100 elsewhere; the mask is 1 on every token of the text, its
    end-of-sequence token included, whatever token pads. With alternative answers it holds `"alternate"`, a batch of
    the same prompts with these.

    Attributes:
        texts: what was tokenised.
        tokens: ids of all texts in one row, int32 `[N]`.
        bounds: where each text begins and the last ends, `[n + 1]`.
        starts: the first token of each answer, within its text, `[n]`.
        numbers: row numbers `[n]`; a subset keeps those of the whole.
        pad: id that fills up; it is never attended to.
        alternate: the same prompts with other answers.
        hidden: a token id that attention does not see: `compat="open-unlearning"`.
    """

    texts: tuple[Text, ...]
    tokens: Tensor
    bounds: Tensor
    starts: Tensor
    numbers: Tensor
    pad: int = 0
    alternate: TextRows | None = None
    hidden: int | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """These rows, padded to the longest of them, so that any collation can stack them."""
        batch = self.batch(rows)
        return [_row(batch, i) for i in range(len(rows))]

    @property
    def ids(self) -> list[str]:
        """The texts' ids."""
        return [t.id for t in self.texts]

    @property
    def labels(self) -> None:
        """Texts have no classes."""

    @property
    def amounts(self) -> Tensor:
        """How many tokens of each text are to be predicted, `[n]`; nothing predicts a text's first."""
        return self.bounds.diff() - self.starts.clamp(min=1)

    def batch(self, indices: Indices) -> dict[str, Any]:
        """The given rows as one padded batch."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        parts = [self.tokens[self.bounds[r] : self.bounds[r + 1]].long() for r in rows]
        ids = pad_sequence(parts, batch_first=True, padding_value=self.pad)
        places = torch.arange(ids.shape[1])
        mask = places < torch.tensor([len(p) for p in parts])[:, None]
        answers = mask & (places >= self.starts[rows][:, None])
        if self.hidden is not None:
            mask = mask & (ids != self.hidden)
        batch = {
            "input_ids": ids,
            "attention_mask": mask.long(),
            "labels": ids.masked_fill(~answers, IGNORED),
            "index": self.numbers[rows],
        }
        return batch if self.alternate is None else {**batch, "alternate": self.alternate.batch(rows)}

    def subset(self, indices: Indices) -> TextRows:
        """The given rows, with their numbers."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        parts = [self.tokens[self.bounds[r] : self.bounds[r + 1]] for r in rows]
        return replace(
            self,
            texts=tuple(self.texts[r] for r in rows.tolist()),
            tokens=torch.cat(parts) if parts else self.tokens[:0],
            bounds=torch.tensor([0, *(len(p) for p in parts)]).cumsum(0),
            starts=self.starts[rows],
            numbers=self.numbers[rows],
            alternate=None if self.alternate is None else self.alternate.subset(rows),
        )

    def digest(self, row: int) -> tuple[bytes, bool]:
        """Of the words: case, sentence punctuation and gaps do not count."""
        return self.texts[row].normalised().encode(), True

    def repeated(self, row: int) -> bool:
        """Whether the text is marked as a copy: a duplicate that a benchmark keeps."""
        return self.texts[row].copy

    def fingerprint(self) -> str:
        """SHA-256 over ids, tokens, row numbers and what is attended to."""
        digest = hashlib.sha256(repr((self.ids, self.hidden)).encode())
        for values in (self.tokens, self.bounds, self.starts, self.numbers):
            digest.update(values.contiguous().numpy().data)
        if self.alternate is not None:
            digest.update(self.alternate.fingerprint().encode())
        return digest.hexdigest()


def tokenised(
    texts: Sequence[Text],
    tokenizer: Any,
    *,
    format: Format = CHAT,
    max_length: int | None = None,
    too_long: Literal["error", "cut", "split", "drop"] = "error",
    eos: bool | None = None,
    alternates: Sequence[str] | None = None,
    seed: int = 0,
    compat: Literal["open-unlearning"] | None = None,
) -> TextRows:
    """Texts as tokens, their answers masked apart.

    Args:
        texts: from `texts`, or made by hand.
        tokenizer: of `transformers`; a pad token is not needed.
        format: `Chat()`, the tokenizer's template, or `Plain(template)`.
        max_length: tokens at most; None is what the tokenizer says of its model.
        too_long: what becomes of longer ones: an error, cut at the end, divided (running texts), or left out.
        eos: whether answers end with the end-of-sequence token; None: all but running texts.
        alternates: other answers: one per text, or any other number of refusals, of which each text gets one by lot.
        seed: of that lot.
        compat: "open-unlearning" hides every end-of-sequence token from attention, as code does that pads with it and
            makes the mask from the ids. All its published Llama-3 numbers have that fault.

    Raises:
        ConfigurationError: no chat template, texts that are too long, or answers of which nothing is left.
    """
    limit = max_length or (size if (size := getattr(tokenizer, "model_max_length", _ENDLESS)) < _ENDLESS else None)
    pairs = [(t, *ids) for t, ids in zip(texts, encoded(tokenizer, texts, format, eos), strict=True)]
    long = [t.id for t, ids, _ in pairs if limit is not None and len(ids) > limit]
    if limit is not None and long:
        if too_long == "error":
            raise ConfigurationError(
                f"{len(long)} of {len(texts)} texts are longer than {limit} tokens ({listed(long)}): "
                "too_long='cut' keeps their beginning, 'drop' leaves them out, 'split' divides running texts; or raise "
                "max_length if the model can read more"
            )
        if alternates is not None and too_long != "cut":
            raise ConfigurationError(f"with alternates long texts can only be cut, found too_long={too_long!r}")
        pairs = [part for pair in pairs for part in _fitted(pair, limit, too_long)]
    if empty := [t.id for t, ids, start in pairs if len(ids) <= max(start, 1)]:
        raise ConfigurationError(
            f"nothing is left to predict in {len(empty)} of {len(pairs)} texts ({listed(empty)}): their answers are "
            f"empty, or lie beyond max_length={limit}. Remove them, or raise max_length."
        )
    if not pairs:
        raise ConfigurationError(f"all {len(texts)} texts are longer than {limit} tokens: none is left")
    rows = TextRows(
        tuple(t for t, _, _ in pairs),
        torch.tensor([i for _, ids, _ in pairs for i in ids], dtype=torch.int32),
        torch.tensor([0, *(len(ids) for _, ids, _ in pairs)]).cumsum(0),
        torch.tensor([start for *_, start in pairs]),
        torch.arange(len(pairs)),
        pad=_first(tokenizer.pad_token_id, tokenizer.eos_token_id, 0),
        hidden=tokenizer.eos_token_id if compat == "open-unlearning" else None,
    )
    if alternates is None:
        return rows
    others = [replace(t, answer=a) for t, a in zip(texts, _drawn(alternates, len(texts), seed), strict=True)]
    other = tokenised(
        others, tokenizer, format=format, max_length=max_length, too_long=too_long, eos=eos, compat=compat
    )
    return replace(rows, alternate=other)


def _fitted(pair: tuple[Text, list[int], int], limit: int, how: str) -> list[tuple[Text, list[int], int]]:
    text, ids, start = pair
    if len(ids) <= limit:
        return [pair]
    if how == "cut":
        return [(text, ids[:limit], start)]
    if how == "split" and not text.turns:
        pieces = [ids[i : i + limit] for i in range(0, len(ids), limit)]
        return [(replace(text, id=f"{text.id}/{n}"), p, 0) for n, p in enumerate(pieces) if len(p) > 1]
    return []


def _drawn(answers: Sequence[str], count: int, seed: int) -> list[str]:
    if len(answers) == count:
        return list(answers)
    if not answers:
        raise ConfigurationError("alternates must hold at least one answer, found 0")
    lot = torch.randint(len(answers), (count,), generator=torch.Generator().manual_seed(seed))
    return [answers[i] for i in lot.tolist()]


def _first(*values: int | None) -> int:
    return next(v for v in values if v is not None)


def _row(batch: dict[str, Any], row: int) -> dict[str, Any]:
    return {k: _row(v, row) if isinstance(v, dict) else v[row] for k, v in batch.items()}
