"""How a network sees images and what asks for them: pixels or latents, classes or the embeddings of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unweave.data.splits import Split
from unweave.modalities import by_row
from unweave.modalities.diffusion.data import Conditioned, pixels
from unweave.modalities.diffusion.frozen import Asked, Frozen
from unweave.modalities.diffusion.networks import Network
from unweave.modalities.images.tensors import TensorImages


@dataclass(frozen=True, eq=False)
class View:
    """Of one network on one set of classes.

    Attributes:
        network: before it has weights.
        classes: their names.
        prompts: of each class what asks for it, where conditions are texts; else None.
        frozen: what goes with the network and never moves: of its folder, or the encoder of one of texts that is
            trained here; else None.
    """

    network: Network
    classes: tuple[str, ...]
    prompts: tuple[str, ...] | None = None
    frozen: Frozen | None = None

    def seen(self, images: TensorImages) -> Conditioned:
        """Images in [0, 1] as the network sees them, with what asks for them."""
        x0 = pixels(images) if self.frozen is None else self.frozen.entered(images)
        return Conditioned(x0, images.labels, self.table)

    def pictures(self, drawn: Tensor) -> Tensor:
        """Images in [-1, 1] of what the network drew."""
        return drawn if self.frozen is None else self.frozen.pictures(drawn)

    @cached_property
    def table(self) -> Tensor | None:
        """The embeddings of each class's prompt, `[classes, L, D]`; None where conditions are classes."""
        return None if self.prompts is None else self._encoder.embedded(self.prompts)

    @cached_property
    def null(self) -> int | Tensor | None:
        """The condition that means none: the row after the classes', or the empty text; None where there is none."""
        return self.network.null(len(self.classes)) if self.prompts is None else self._encoder.nothing

    def others(self, kept: Sequence[int]) -> Tensor | None:
        """What may stand for a condition that is forgotten: texts of the kept classes, or these; None: any class."""
        if self.table is not None:
            return self.table[list(kept)]
        return torch.tensor(kept) if len(kept) < len(self.classes) else None

    def named(self, name: str) -> int | Tensor:
        """What a class's name, or a text, stands for.

        Raises:
            ConfigurationError: conditions are classes, and none is called so.
        """
        if self.prompts is None:
            return by_row.class_numbers(name, self.classes)[0]
        return self._encoder.embedded([self.text(name)])[0]

    def text(self, name: str) -> str:
        """The prompt of a class's name; of any other text it."""
        return dict(zip(self.classes, self.prompts or (), strict=True)).get(name, name)

    def tokens(self, text: str) -> tuple[int, ...]:
        """What the encoder reads of a text: two with the same are one condition."""
        return self._encoder.tokens(text)

    def words(self, label: int, free: int) -> Asked:
        """The text of a class behind as many free tokens as there is room for."""
        assert self.prompts is not None, "only texts have words"
        return self._encoder.words(self.prompts[label], free)

    @property
    def _encoder(self) -> Frozen:
        assert self.frozen is not None, "it is checked that texts have an encoder"
        return self.frozen


def gone(labels: Tensor, split: Split) -> tuple[int, ...]:
    """Classes of the forget set that no retain example has."""
    forget, retain = (set(labels[rows].tolist()) for rows in (split.forget, split.retain))
    return tuple(sorted(forget - retain))
