"""Faults of data that would spoil a run silently."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from unweave.data.images import TensorImages
from unweave.data.text import Text, TextRows
from unweave.errors import ConfigurationError


def check_overlap(forget: Dataset[Any], retain: Dataset[Any]) -> None:
    """Refuse examples that are in both sets, bit for bit, input and label alike.

    The same input under another label is no overlap: a corrected copy of a mislabelled example may be kept. Texts
    are the same if their words are: case, punctuation and gaps do not count. A retain text that is marked as a copy
    is there on purpose.

    Raises:
        ConfigurationError: there are some; the message counts them and names the first by their index.
    """
    known = {digest: row for row, digest in enumerate(_digests(forget))}
    shared = [(known[digest], row) for row, digest in enumerate(_digests(retain, copies=False)) if digest in known]
    if shared:
        first = ", ".join(f"forget[{a}] = retain[{b}]" for a, b in shared[:5])
        raise ConfigurationError(
            f"forget and retain must share no example, found {len(shared)} of {len(known)} forget "
            f"examples in the retain set too (first: {first}): take them out of one of the two"
        )


def check_unseen(test: TensorImages, train: TensorImages) -> None:
    """Refuse a test set that a model was trained on: an attack that compares with it would find nothing.

    Raises:
        ConfigurationError: images of the test set are, bit for bit and whatever their label, in the training set.
    """
    trained = set(map(_image_digest, train.images.numpy()))
    shared = [row for row, image in enumerate(test.images.numpy()) if _image_digest(image) in trained]
    if shared:
        first = ", ".join(f"test[{row}]" for row in shared[:5])
        raise ConfigurationError(
            f"test and holdout set must hold no training image; {len(shared)} of {len(test)} are in the "
            f"training set too (first: {first}): take them out of one of the two"
        )


def check_labels(labels: Tensor | np.ndarray, classes: int) -> None:
    """Refuse labels outside [0, classes).

    Raises:
        ConfigurationError: there are some; the message counts them and names the first.
    """
    values = np.asarray(labels)
    outside = np.flatnonzero((values < 0) | (values >= classes))
    if len(outside):
        first = ", ".join(f"row {row} has {values[row]}" for row in outside[:5])
        raise ConfigurationError(
            f"labels must be at least 0 and below {classes} (the number of classes), "
            f"found {len(outside)} outside (first: {first})"
        )


def _image_digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _digests(data: Dataset[Any], copies: bool = True) -> Iterable[bytes]:
    """One per example, in order; b"" for a copy that is to be passed over."""
    if (chosen := _texts(data)) is not None:
        for text in chosen:
            yield b"" if text.copy and not copies else text.normalised().encode()
        return
    if isinstance(data, TensorImages):
        examples: Iterable[Any] = zip(data.images, data.labels, strict=True)
    else:
        examples = (data[row] for row in range(len(data)))  # type: ignore[arg-type]
    for example in examples:
        digest = hashlib.blake2b(digest_size=16)
        _feed(digest, example)
        yield digest.digest()


def _texts(data: Dataset[Any]) -> list[Text] | None:
    """The texts of tokenised rows, or of a subset of them."""
    if isinstance(data, TextRows):
        return list(data.texts)
    if isinstance(data, Subset) and (whole := _texts(data.dataset)) is not None:
        return [whole[row] for row in data.indices]
    return None


def _feed(digest: hashlib.blake2b, value: Any) -> None:
    if isinstance(value, Mapping):
        for key in value:
            digest.update(repr(key).encode())
            _feed(digest, value[key])
    elif isinstance(value, (tuple, list)):
        for part in value:
            _feed(digest, part)
    elif isinstance(value, Tensor):
        content = value.detach().cpu().contiguous()
        digest.update(f"{content.dtype}{list(content.shape)}".encode())
        digest.update(content.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    else:
        digest.update(repr(value).encode())
