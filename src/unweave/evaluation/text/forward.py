"""One forward pass per sequence, and the four numbers per answer token that all teacher-forced metrics read.

Answers to the same question share their prompt: it runs once, and each answer goes on from its keys and values. Models
whose cache cannot be gone on from (sliding windows, recurrent states, modules without one) get whole sequences.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unweave.evaluation.text.examples import IGNORED, Tokenised
from unweave.execution import bare
from unweave.tasks import Language
from unweave.tasks._passes import inner, takes

_LOGITS_AT_A_TIME = 1 << 24  # numbers in one piece of a softmax over the vocabulary
_CACHED = ("attention_mask", "position_ids", "past_key_values", "use_cache")


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


def cached(model: nn.Module) -> bool:
    """Whether the model's forward can go on from a cache of keys and values that it gave."""
    own = inner(model)
    config = getattr(own, "config", None)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    sliding = getattr(config, "sliding_window", None) and kinds == {"full_attention"}
    return all(takes(own, name) for name in _CACHED) and kinds == {"full_attention"} and not sliding


def forced(model: nn.Module, rows: Sequence[Row], *, hidden: Collection[int] = (), share: bool = True) -> list[Answer]:
    """The numbers of every row, in order; no graph is kept unless gradients are enabled.

    Args:
        model: in the mode it is to be scored in.
        rows: of one batch.
        hidden: token ids that nothing may attend to (a fault of open-unlearning, whose padding is the end of the text).
        share: run the prompt that rows of a group have in common once.
    """
    sharing = share and cached(model)
    groups: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(row.group, []).append(place)
    together: list[tuple[int, list[int]]] = []
    alone: list[tuple[int, list[int]]] = []
    for places in groups.values():
        prefix = common([rows[i].sequence for i in places]) if sharing and len(places) > 1 else 0
        (together if prefix else alone).append((prefix, places))
    answers: dict[int, Answer] = {}
    for chosen, run in ((alone, _separately), (together, _continued)):
        places = [i for _, group in chosen for i in group]
        if places:
            found = run(model, [rows[i] for i in places], [(p, len(g)) for p, g in chosen], hidden)
            answers |= dict(zip(places, found, strict=True))
    return [answers[i] for i in range(len(rows))]


def common(sequences: Sequence[Tokenised]) -> int:
    """How many tokens all prompts begin with; each keeps its last token, which predicts the answer's first."""
    limit = min(s.start for s in sequences) - 1
    first = sequences[0].ids
    return next((i for i in range(limit) if any(s.ids[i] != first[i] for s in sequences)), limit)


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


def _separately(model: nn.Module, rows: Sequence[Row], _: Any, hidden: Collection[int]) -> list[Answer]:
    batch = batch_of([row.sequence for row in rows], _device(model), hidden)
    seen = Language().predictions(bare(model), batch)
    return _answers(rows, seen.logits, seen.targets)


def _continued(
    model: nn.Module, rows: Sequence[Row], groups: Sequence[tuple[int, int]], hidden: Collection[int]
) -> list[Answer]:
    """Prompts once, then every row from its prompt's keys and values."""
    own, device = bare(model), _device(model)
    starts = torch.tensor([prefix for prefix, size in groups for _ in range(size)])
    owner = torch.tensor([g for g, (_, size) in enumerate(groups) for _ in range(size)], device=device)
    firsts = torch.tensor([0, *(size for _, size in groups)]).cumsum(0)[:-1].tolist()
    prompts, seen = padded(
        [rows[i].sequence.ids[:prefix] for i, (prefix, _) in zip(firsts, groups, strict=True)], device, hidden
    )
    keep = {"logits_to_keep": 1} if takes(own, "logits_to_keep") else {}
    place = torch.arange(prompts.shape[1], device=device).expand_as(prompts)
    cache = own(input_ids=prompts, attention_mask=seen, position_ids=place, use_cache=True, **keep).past_key_values
    cache.batch_select_indices(owner)
    tails = [Tokenised(r.sequence.ids[s:], r.sequence.start - s) for r, s in zip(rows, starts.tolist(), strict=True)]
    batch = batch_of(tails, device)
    tail = padded([(-1, *t.ids) for t in tails], device, hidden)[1][:, 1:]  # none of them is a text's first token
    mask = torch.cat([seen[owner], tail], 1)
    place = starts.to(device)[:, None] + torch.arange(batch["input_ids"].shape[1], device=device)
    asked = batch["labels"][:, 1:] != IGNORED
    columns = asked.any(0).nonzero().flatten()
    keep = {"logits_to_keep": columns} if keep else {}
    logits = own(
        input_ids=batch["input_ids"],
        attention_mask=mask,
        position_ids=place,
        past_key_values=cache,
        use_cache=True,
        **keep,
    ).logits
    logits = logits if keep else logits[:, columns]
    return _answers(rows, logits[asked[:, columns]], batch["labels"][:, 1:][asked])


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


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
