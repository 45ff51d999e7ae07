"""One forward pass per sequence, and the four numbers per answer token that all teacher-forced metrics read.

Answers to the same question go forward as one sequence, behind one prompt (`packed`); models that cannot do that get
every answer with its own prompt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unweave.execution import bare, device_of
from unweave.modalities.texts.evaluation.examples import IGNORED, Tokenised
from unweave.modalities.texts.evaluation.packed import predictions, together
from unweave.tasks import Language

_LOGITS_AT_A_TIME = 1 << 24  # numbers in one piece of a softmax over the vocabulary


@dataclass(frozen=True)
class Answer:
    """The numbers of one answer of L tokens, each `[L]` on the CPU; None where only log-probabilities were wanted."""

    logprobs: Tensor
    hits: Tensor | None = None
    means: Tensor | None = None
    variances: Tensor | None = None

    @property
    def loss(self) -> float:
        """Mean of `-log p` over the tokens."""
        return -float(self.logprobs.double().mean())


@dataclass(frozen=True)
class Row:
    """A sequence of a batch: whose prompt it shares, and whether every number is wanted or the log-probabilities."""

    group: int
    sequence: Tokenised
    whole: bool


def forced(model: nn.Module, rows: Sequence[Row], *, hidden: Collection[int] = (), share: bool = True) -> list[Answer]:
    """The numbers of every row, in order; no graph is kept unless gradients are enabled.

    Args:
        model: in the mode it is to be scored in.
        rows: of one batch.
        hidden: token ids that nothing may attend to (a fault of open-unlearning, whose padding is the end of the text).
        share: make one sequence of the rows of a group whose prompts begin alike; the model must be one that `packs`.
    """
    groups: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(row.group, []).append(place)
    trees: list[list[int]] = []
    alone: list[list[int]] = []
    for places in groups.values():
        (trees if share and together(model, [rows[i].sequence for i in places]) else alone).append(places)
    answers: dict[int, Answer] = {}
    if places := [i for group in alone for i in group]:
        batch = batch_of([rows[i].sequence for i in places], device_of(model), hidden)
        seen = Language().predictions(bare(model), batch)
        answers |= zip(places, _answers([rows[i] for i in places], seen.logits, seen.targets), strict=True)
    if places := [i for group in trees for i in group]:
        found = predictions(model, [[rows[i].sequence for i in group] for group in trees], hidden)
        answers |= zip(places, _answers([rows[i] for i in places], *found), strict=True)
    return [answers[i] for i in range(len(rows))]


def batch_of(sequences: Sequence[Tokenised], device: torch.device | str = "cpu", hidden: Collection[int] = ()) -> Any:
    """A right-padded batch `{"input_ids", "attention_mask", "labels"}`, each `[b, t]`, as task 'language' reads it."""
    ids, mask = padded([s.ids for s in sequences], device, hidden)
    labels = torch.full_like(ids, IGNORED)
    for row, s in enumerate(sequences):
        labels[row, s.start : len(s.ids)] = ids[row, s.start : len(s.ids)]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def padded(
    rows: Sequence[Sequence[int]], device: torch.device | str, hidden: Collection[int] = (), *, left: bool = False
) -> tuple[Tensor, Tensor]:
    """Ids and attention mask `[b, t]`; zeros where a row is shorter, and where an id after the first is hidden."""
    width = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[number, place] = torch.tensor(row, dtype=torch.long)
        seen = [int(i == 0 or token not in hidden) for i, token in enumerate(row)] if hidden else 1
        mask[number, place] = torch.tensor(seen)
    return ids.to(device), mask.to(device)


def _answers(rows: Sequence[Row], logits: Tensor, targets: Tensor) -> list[Answer]:
    """From logits `[n, V]` of all answer tokens, those of the first row first."""
    lengths = [len(row.sequence.ids) - row.sequence.start for row in rows]
    found = []
    for row, own, wanted in zip(rows, logits.split(lengths), targets.split(lengths), strict=True):
        pieces = [_numbers(*piece, whole=row.whole) for piece in _pieces(own, wanted)]
        found.append(Answer(*(torch.cat(column).cpu() for column in zip(*pieces, strict=True))))
    return found


def _pieces(logits: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    tokens = max(1, _LOGITS_AT_A_TIME // logits.shape[1])
    yield from zip(logits.split(tokens), targets.split(tokens), strict=True)


def _numbers(logits: Tensor, targets: Tensor, *, whole: bool) -> tuple[Tensor, ...]:
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    logs = logits.log_softmax(-1)
    own = logs.gather(1, targets[:, None])[:, 0]
    if not whole:
        return (own,)
    with torch.no_grad():
        p = logs.exp()
        finite = logs.masked_fill(p == 0, 0.0)  # a token that cannot come adds 0, not 0 times infinity
        mean = (p * finite).sum(-1)
        variance = (p * (finite - mean[:, None]).square()).sum(-1)
        return own, logs.argmax(-1) == targets, mean, variance
