"""Two sets of tokenised texts beside each other, and what a text says."""

from __future__ import annotations

from dataclasses import replace

import torch

from unweave.modalities.texts.data import Text, TextRows


def numbered(rows: TextRows, first: int) -> TextRows:
    """The same with other row numbers, so that those of two sets differ."""
    return replace(rows, numbers=rows.numbers + first)


def together(forget: TextRows, retain: TextRows) -> TextRows:
    """Both sets as one."""
    bounds = torch.cat([forget.bounds, retain.bounds[1:] + forget.bounds[-1]])
    return TextRows(
        (*forget.texts, *retain.texts),
        torch.cat([forget.tokens, retain.tokens]),
        bounds,
        torch.cat([forget.starts, retain.starts]),
        torch.cat([forget.numbers, retain.numbers]),
        pad=forget.pad,
    )


def words(text: Text) -> str:
    """All turns and the answer, a line each."""
    return "\n".join([*(content for _, content in text.turns), text.answer])
