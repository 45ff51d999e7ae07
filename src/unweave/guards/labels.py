"""Batches of tokens say themselves whether their labels are the tokens that they should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unweave.guards.finding import Finding
from unweave.tasks.language import IGNORED

_KEYS = ("input_ids", "attention_mask", "labels")


@dataclass(frozen=True)
class Labelled:
    """Examples by what is odd about their labels.

    Attributes:
        count: all that were looked at.
        padding: with a label on padding.
        shifted: whose labels are the tokens that come next.
        other: with other labels than their tokens.
    """

    count: int = 0
    padding: int = 0
    shifted: int = 0
    other: int = 0

    def __add__(self, more: Labelled) -> Labelled:
        return Labelled(*(getattr(self, name) + getattr(more, name) for name in self.__dataclass_fields__))

    def findings(self, name: str) -> list[Finding]:
        """What to say of the set of that name."""
        of, mend = f"of {self.count} examples that were looked at", "and -100 outside the answer."
        if 2 * self.shifted > self.count:
            return [
                Finding(
                    f"{name}: the labels of {self.shifted} {of} are the tokens that come next: they are shifted "
                    f"already, and would be shifted again. Give each token itself as its label, {mend}",
                    fatal=True,
                )
            ]
        found = []
        if self.padding:
            found.append(
                Finding(
                    f"{name}: the labels of {self.padding} {of} stand on padding, where attention_mask is 0: the loss "
                    "would depend on the width of the batch. Set them to -100 there.",
                    fatal=True,
                )
            )
        if other := self.shifted + self.other:
            found.append(
                Finding(
                    f"{name}: the labels of {other} {of} are other tokens than input_ids has there. A label is the "
                    f"token itself, {mend} Where others are meant, go on."
                )
            )
        return found


def labelled(batch: Any) -> Labelled:
    """What is odd about the labels of a batch of tokens, and of its alternative answers; of others nothing is known.

    A label on one masked token behind an attended one is the end of a text that is hidden from attention, not padding.
    """
    if not isinstance(batch, Mapping):
        return Labelled()
    ids, mask, labels = (batch.get(key) for key in _KEYS)
    if not (isinstance(ids, Tensor) and isinstance(mask, Tensor) and isinstance(labels, Tensor) and ids.ndim == 2):
        return Labelled()
    asked, seen = labels != IGNORED, mask != 0
    padding = asked & ~seen
    padding[:, 1:] &= ~seen[:, :-1]
    differs = (asked & seen & (labels != ids)).any(1)
    shifted = differs & (~asked | (labels == ids.roll(-1, 1)))[:, :-1].all(1)
    counts = (padding.any(1) & ~shifted, shifted, differs & ~shifted)
    return Labelled(len(ids), *(int(each.sum()) for each in counts)) + labelled(batch.get("alternate"))
