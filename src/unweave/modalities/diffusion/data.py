"""Images with the conditions that ask for them, in memory: what a diffusion model learns, keeps and loses."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unweave.data.content import content
from unweave.data.protocol import Indices
from unweave.errors import ConfigurationError
from unweave.modalities.images.tensors import TensorImages


@dataclass(frozen=True, eq=False)
class Conditioned(Dataset[dict[str, Tensor]]):
    """Images in the scale of the training, each with its condition: batches are
    `{"x0", "condition", "label", "number"}`, the label being its class.

    Args:
        x0: `[n, channels, height, width]`, float32; images lie in [-1, 1].
        labels: the class of each, `[n]`, int64.
        table: what the model is given for each class, `[classes, L, D]`, embeddings of its text; None: the class.
        number: of each in its training or test set, `[n]`: whoever draws for an example starts from the noise of its
            number, whatever subset it is met in. None: 0 to n - 1.

    Raises:
        ConfigurationError: shapes or types do not fit each other.
    """

    x0: Tensor
    labels: Tensor
    table: Tensor | None = None
    number: Tensor | None = None

    def __post_init__(self) -> None:
        if self.number is None:
            object.__setattr__(self, "number", torch.arange(len(self.x0)))
        fits = self.x0.ndim == 4 and self.x0.is_floating_point() and self.labels.dtype == torch.int64
        if not fits or not self.labels.shape == self.numbers.shape == self.x0.shape[:1]:
            raise ConfigurationError(
                "images need floats [n, channels, height, width] and one class (int64) each; found "
                f"{list(self.x0.shape)} of {self.x0.dtype} and {list(self.labels.shape)} of {self.labels.dtype}"
            )

    @classmethod
    def of(cls, images: TensorImages) -> Conditioned:
        """Images in [0, 1] with labels become images in [-1, 1] with conditions."""
        return cls(pixels(images), images.labels)

    @property
    def numbers(self) -> Tensor:
        """See `number`."""
        assert self.number is not None
        return self.number

    def __len__(self) -> int:
        return len(self.x0)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {name: values[0] for name, values in self.batch([row]).items()}

    def batch(self, indices: Indices) -> dict[str, Tensor]:
        """Of the given rows, in that order."""
        x0, labels, number = self._rows(indices)
        return {"x0": x0, "condition": self.conditions(labels), "label": labels, "number": number}

    def conditions(self, labels: Tensor) -> Tensor:
        """What asks for these classes, `[b]` or `[b, L, D]`."""
        return labels if self.table is None else self.table[labels]

    def subset(self, indices: Indices) -> Conditioned:
        """A copy of the given rows, with their numbers."""
        x0, labels, number = self._rows(indices)
        return Conditioned(x0, labels, self.table, number)

    def _rows(self, indices: Indices) -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.as_tensor(indices, dtype=torch.int64)
        x0, labels, number = (each.index_select(0, rows) for each in (self.x0, self.labels, self.numbers))
        return x0, labels, number

    @property
    def amounts(self) -> None:
        """One image each."""

    def digest(self, row: int) -> tuple[bytes, bool]:
        """Of image and class; its number says only where it stands."""
        return content((self.x0[row], self.labels[row]))

    def repeated(self, row: int) -> bool:
        """No image is there twice on purpose."""
        return False

    def fingerprint(self) -> str:
        """SHA-256 over shape, classes, numbers, every pixel, and what asks for them."""
        digest = hashlib.sha256(repr(list(self.x0.shape)).encode())
        for tensor in (self.labels, self.numbers, self.x0, *(() if self.table is None else (self.table,))):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def pixels(images: TensorImages) -> Tensor:
    """Images in [0, 1] become images in [-1, 1], `[n, channels, h, w]`."""
    return 2 * images.batch(range(len(images)))[0].float() - 1
