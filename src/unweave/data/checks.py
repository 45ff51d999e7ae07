"""Faults of data that would spoil a run silently."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from unweave.data.images import TensorImages
from unweave.data.text import Text, TextRows
from unweave.errors import ConfigurationError


def check_filled(size: int, name: str) -> None:
    """Refuse a set without an example.

    Raises:
        ConfigurationError: there is none.
    """
    if not size:
        raise ConfigurationError(f"the {name} set must hold at least one example, found 0: check the split")


def check_overlap(forget: Dataset[Any], retain: Dataset[Any]) -> dict[str, list[int]]:
    """Refuse examples that are in both sets, bit for bit, input and label alike.

    The same input under another label is no overlap: a corrected copy of a mislabelled example may be kept. Texts
    are the same if their words are: case, punctuation and gaps do not count. A retain text that is marked as a copy
    is there on purpose.

    Returns:
        Rows of "forget" and of "retain" that hold NaN or infinity: the model may know what to do with them, or not.

    Raises:
        ConfigurationError: there are some; the message counts them and names the first by their index.
    """
    known: dict[bytes, int] = {}
    shared: list[tuple[int, int]] = []
    broken: dict[str, list[int]] = {"forget": [], "retain": []}
    for row, (digest, finite) in enumerate(_digests(forget)):
        known[digest] = row
        broken["forget"] += [] if finite else [row]
    for row, (digest, finite) in enumerate(_digests(retain, copies=False)):
        shared += [(known[digest], row)] if digest in known else []
        broken["retain"] += [] if finite else [row]
    if shared:
        first = ", ".join(f"forget[{a}] = retain[{b}]" for a, b in shared[:5])
        both = len({a for a, _ in shared})
        raise ConfigurationError(
            f"forget and retain must share no example, found {both} of {len(known)} forget "
            f"examples in the retain set too (first: {first}): take them out of one of the two"
        )
    return broken


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
            f"found {len(outside)} outside (first: {first}). Number the classes from 0, or load the model that has "
            "that many"
        )


def _image_digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _digests(data: Dataset[Any], copies: bool = True) -> Iterable[tuple[bytes, bool]]:
    """One per example, in order, and whether its numbers are finite; b"" for a copy that is to be passed over."""
    if (chosen := _texts(data)) is not None:
        for text in chosen:
            yield b"" if text.copy and not copies else text.normalised().encode(), True
        return
    if isinstance(data, TensorImages):
        examples: Iterable[Any] = zip(data.images, data.labels, strict=True)
    else:
        examples = (data[row] for row in range(len(data)))  # type: ignore[arg-type]
    for example in examples:
        digest = hashlib.blake2b(digest_size=16)
        finite = _feed(digest, example)
        yield digest.digest(), finite


def _texts(data: Dataset[Any]) -> list[Text] | None:
    """The texts of tokenised rows, or of a subset of them."""
    if isinstance(data, TextRows):
        return list(data.texts)
    if isinstance(data, Subset) and (whole := _texts(data.dataset)) is not None:
        return [whole[row] for row in data.indices]
    return None


def _feed(digest: hashlib.blake2b, value: Any) -> bool:
    """Adds a value to what is hashed; whether all its numbers are finite."""
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, (tuple, list)):
        finite = [_feed(digest, part) for part in value]
        return all(finite)
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous()
        digest.update(f"{content.dtype}{list(content.shape)}".encode())
        digest.update(content.reshape(-1).view(torch.uint8).numpy().data)
        return not content.is_floating_point() or bool(content.isfinite().all())
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        return value.dtype.kind != "f" or bool(np.isfinite(value).all())
    if hasattr(value, "__array_interface__"):  # a picture that is no tensor yet
        return _feed(digest, np.asarray(value))
    if repr(value) == object.__repr__(value):  # an address, which the next object may have: like nothing else
        digest.update(os.urandom(16))
    else:
        digest.update(repr(value).encode())
    return True
