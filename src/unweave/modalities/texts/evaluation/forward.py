"""One pass over texts: packed by length, scored token by token, or continued greedily."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unweave.errors import UnsupportedError
from unweave.execution import bare, device_of
from unweave.modalities.texts.evaluation.examples import IGNORED, Tokenised
from unweave.tasks import Language
from unweave.tasks._passes import attends_to_all, inner, takes

Tree = Sequence[Tokenised]  # sequences whose prompts begin with the same tokens


def common(sequences: Tree) -> int:
    """How many tokens all prompts begin with; each keeps its last token, which predicts the answer's first."""
    limit = min(s.start for s in sequences) - 1
    first = sequences[0].ids
    return next((i for i in range(limit) if any(s.ids[i] != first[i] for s in sequences)), limit)


def packed_length(sequences: Tree) -> int:
    """Tokens of the one sequence."""
    shared = common(sequences)
    return shared + sum(len(s.ids) - shared for s in sequences)


def together(model: nn.Module, sequences: Tree) -> bool:
    """Whether these go as one: several, with a prompt in common, not longer together than the model's context."""
    context = getattr(getattr(inner(model), "config", None), "max_position_embeddings", None)
    fits = not isinstance(context, int) or packed_length(sequences) <= context
    return len(sequences) > 1 and common(sequences) > 0 and fits


def predictions(model: nn.Module, trees: Sequence[Tree], hidden: Collection[int] = ()) -> tuple[Tensor, Tensor]:
    """Logits `[n, V]` of all answer tokens, tree by tree and in each answer by answer, and these tokens `[n]`.

    Args:
        model: one that `packs`.
        trees: a row of the batch each.
        hidden: token ids that nothing may attend to, but where they begin a text.
    """
    own = bare(model)
    weight = next(p for p in own.parameters() if p.is_floating_point())
    ids, labels, places, branches = (x.to(weight.device) for x in _laid_out(trees))
    t = torch.arange(ids.shape[1], device=ids.device)
    trunk, same = branches[:, None, :] == 0, branches[:, None, :] == branches[:, :, None]
    allowed = (t[None, :] <= t[:, None]) & (trunk | same)
    if hidden:
        out = torch.isin(ids, torch.tensor(sorted(hidden), device=ids.device)) & (t > 0)
        allowed &= ~out[:, None, :]
    barred = torch.zeros_like(allowed, dtype=weight.dtype).masked_fill_(~allowed, torch.finfo(weight.dtype).min)
    asked = labels[:, 1:] != IGNORED
    columns = asked.any(0).nonzero().flatten()
    keep = {"logits_to_keep": columns} if takes(own, "logits_to_keep") else {}
    more = {"use_cache": False} if takes(own, "use_cache") else {}
    seen = own(input_ids=ids, attention_mask=barred[:, None], position_ids=places, **more, **keep)
    logits = getattr(seen, "logits", seen)
    logits = logits if keep else logits[:, columns]
    return logits[asked[:, columns]], labels[:, 1:][asked]


def packs(model: nn.Module) -> bool:
    """Whether the model gives a small tree the logits of its sequences: tried on five tokens, to rounding.

    Models that attend to a window, carry a state, add prompts of their own or have kernels without such masks do not.
    """
    own = inner(model)
    vocabulary = getattr(getattr(own, "config", None), "vocab_size", 0)
    if not takes(own, "position_ids") or vocabulary < 4 or not attends_to_all(own):
        return False
    tree = [Tokenised((1, 2, 3, 1), 2), Tokenised((1, 2, 2, 3), 2), Tokenised((1, 2, 0), 2)]
    with torch.no_grad():
        try:
            packed = predictions(model, [tree])[0]
        except (RuntimeError, TypeError, ValueError, IndexError):
            return False  # it has no room for such a mask, and says so in its own way
        apart = _apart(bare(model), tree).to(packed)
    finest = max(torch.finfo(packed.dtype).eps, torch.finfo(torch.float32).eps)  # some softmax is in float32 always
    near = finest**0.6 * apart.abs().amax()  # 7e-5 of the largest logit
    return bool((packed - apart).abs().amax() <= near)


def _apart(model: nn.Module, tree: Tree) -> Tensor:
    """Logits `[n, V]` of all answers, as any causal model gives them."""
    ids = torch.zeros(len(tree), max(len(s.ids) for s in tree), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, s in enumerate(tree):
        ids[row, : len(s.ids)], mask[row, : len(s.ids)] = torch.tensor(s.ids), 1
    device = device_of(model)
    seen = model(input_ids=ids.to(device), attention_mask=mask.to(device))
    logits = getattr(seen, "logits", seen)
    return torch.cat([logits[row, s.start - 1 : len(s.ids) - 1] for row, s in enumerate(tree)])


def _laid_out(trees: Sequence[Tree]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids, labels, positions and branches (0: the prompt, -1: padding), each `[b, t]`."""
    shape = (len(trees), max(map(packed_length, trees)))
    ids, places = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels, branches = torch.full(shape, IGNORED), torch.full(shape, -1)
    for row, tree in enumerate(trees):
        shared = common(tree)
        ids[row, :shared] = torch.tensor(tree[0].ids[:shared], dtype=torch.long)
        places[row, :shared], branches[row, :shared] = torch.arange(shared), 0
        begin = shared
        for branch, s in enumerate(tree, 1):
            end = begin + len(s.ids) - shared
            ids[row, begin:end] = torch.tensor(s.ids[shared:])
            labels[row, begin + s.start - shared : end] = ids[row, begin + s.start - shared : end]
            places[row, begin:end], branches[row, begin:end] = torch.arange(shared, len(s.ids)), branch
            begin = end
    return ids, labels, places, branches


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


_CACHED = ("attention_mask", "position_ids", "past_key_values", "use_cache")


@torch.no_grad()
def greedy(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    limit: int,
    ends: Collection[int],
    *,
    hidden: Collection[int] = (),
) -> list[list[int]]:
    """The likeliest next token, again and again, until the text ends or is `limit` tokens long.

    Args:
        model: in eval mode.
        prompts: token ids, best of similar length.
        limit: tokens at most.
        ends: ids that end a text; they are not returned.
        hidden: ids that nothing may attend to (`forward.forced`).

    Raises:
        UnsupportedError: the model has neither a cache of keys and values nor `generate`.
    """
    own = bare(model)
    device = device_of(model)
    ids, mask = padded(prompts, device, hidden, left=True)
    if not cached(model):
        return _generate(own, ids, mask, limit, ends)
    keep = {"logits_to_keep": 1} if takes(own, "logits_to_keep") else {}
    final = torch.tensor(sorted(ends), device=device)
    texts: list[list[int]] = [[] for _ in prompts]
    alive = torch.arange(len(prompts), device=device)
    place, cache = (mask.cumsum(1) - 1).clamp_min(0), None
    for step in range(limit):
        out = own(input_ids=ids, attention_mask=mask, position_ids=place, past_key_values=cache, use_cache=True, **keep)
        cache = out.past_key_values
        token = out.logits[:, -1].argmax(-1)
        going = ~torch.isin(token, final)
        for row, new, on in zip(alive.tolist(), token.tolist(), going.tolist(), strict=True):
            if on:
                texts[row].append(new)
        if step + 1 == limit or not going.any():
            break
        if not going.all():
            kept = going.nonzero().flatten()
            cache.batch_select_indices(kept)
            alive, token, mask, place = alive[kept], token[kept], mask[kept], place[kept]
        seen = ~torch.isin(token, torch.tensor(sorted(hidden), device=device)) if hidden else torch.ones_like(token)
        mask = torch.cat([mask, seen[:, None].to(mask.dtype)], 1)
        ids, place = token[:, None], place[:, -1:] + 1
    return texts


def cached(model: nn.Module) -> bool:
    """Whether the model's forward can go on from a cache of keys and values that it gave, for any of its rows."""
    return all(takes(model, name) for name in _CACHED) and attends_to_all(model)


def _generate(
    model: nn.Module, ids: torch.Tensor, mask: torch.Tensor, limit: int, ends: Collection[int]
) -> list[list[int]]:
    """By the model's own `generate`, for other kinds of state."""
    if not callable(getattr(inner(model), "generate", None)):
        raise UnsupportedError(
            f"{type(inner(model)).__name__} cannot write texts: it has no cache of keys and values and no generate(). "
            "Ask for the teacher-forced metrics alone (generate=0)."
        )
    from transformers import GenerationConfig

    final = sorted(ends)
    config = GenerationConfig(
        do_sample=False, max_new_tokens=limit, eos_token_id=final or None, pad_token_id=final[0] if final else 0
    )
    made = inner(model).generate(ids, attention_mask=mask, generation_config=config)[:, ids.shape[1] :]  # type: ignore[operator]
    return [_until(row, set(ends)) for row in made.tolist()]


def _until(row: list[int], ends: set[int]) -> list[int]:
    return row[: next((i for i, token in enumerate(row) if token in ends), len(row))]
