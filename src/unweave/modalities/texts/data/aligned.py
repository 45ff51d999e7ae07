"""Which tokens lie within a part of a text."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any


def aligned(tokenizer: Any, whole: str, part: tuple[int, int], special: bool) -> tuple[list[int], int, int] | None:
    """Token ids of a text, the first that belongs to a part of it, and the first behind that part.

    A token that spans the border before the part belongs to it, one that spans the border behind it does not.

    Args:
        tokenizer: of `transformers`; one without offsets ("slow") is asked for the text up to each border too.
        whole: the text.
        part: where it begins and ends, in characters.
        special: whether the tokenizer adds its special tokens; those before the text are before the part.

    Returns:
        None where a tokenizer without offsets cannot tell.
    """
    begin, end = part
    if getattr(tokenizer, "is_fast", False):
        found = tokenizer(whole, add_special_tokens=special, return_offsets_mapping=True)
        ids, offsets = list(found["input_ids"]), found["offset_mapping"]
        start = next((i for i, (_, last) in enumerate(offsets) if last > begin), len(ids))
        return ids, start, next((i for i in range(len(ids), start, -1) if 0 < offsets[i - 1][1] <= end), start)
    ids, bare = _ids(tokenizer, whole, special), _ids(tokenizer, whole, False)
    lead = next((i for i in range(len(ids) - len(bare) + 1) if ids[i : i + len(bare)] == bare), 0)
    first, after = _within(tokenizer, bare, whole, begin), _within(tokenizer, bare, whole, end)
    return None if first is None or after is None else (ids, lead + first, lead + after)


def _within(tokenizer: Any, ids: list[int], whole: str, place: int) -> int | None:
    """How many of the tokens end by this place.

    As many as the text up to there has, where they are the same; otherwise a token spans the place, and what the first
    ones decode to, white space aside, says which.
    """
    own = _ids(tokenizer, whole[:place], False) if place else []
    if ids[: len(own)] == own:
        return len(own)
    if _read(tokenizer, ids) != _squeezed(whole):
        return None
    limit = len(_squeezed(whole[:place]))
    return bisect_right(range(len(ids)), limit, key=lambda i: len(_read(tokenizer, ids[: i + 1])))


def _ids(tokenizer: Any, text: str, special: bool) -> list[int]:
    return list(tokenizer(text, add_special_tokens=special)["input_ids"])


def _read(tokenizer: Any, ids: list[int]) -> str:
    return _squeezed(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _squeezed(text: str) -> str:
    """Without white space, which tokenizers add and drop, and without halves of characters."""
    return "".join(text.replace("\ufffd", "").split())
