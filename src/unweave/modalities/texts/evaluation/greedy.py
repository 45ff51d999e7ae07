"""Greedy generation of many texts: left padding, one cache, and rows that have ended leave the batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import nn

from unweave.errors import UnsupportedError
from unweave.execution import bare, device_of
from unweave.modalities.texts.evaluation.forward import padded
from unweave.tasks._passes import attends_to_all, inner, takes

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
