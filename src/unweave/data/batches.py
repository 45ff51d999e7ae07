"""Batches: a tensor, or tuples, lists and mappings of them, examples along the first dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from unweave.data.twins import copied, follows, on_host
from unweave.errors import ConfigurationError

Batch = Any
ANSWERS = ("labels", "label", "targets", "target")
"""What the right answer is called in a mapping: one of these."""
_ROWS = ("input_ids", "attention_mask", *ANSWERS)  # what is no list of several inputs


def answered(batch: Batch) -> tuple[Any, Any] | None:
    """What a batch, or one example, gives to the model and what is right of it; None where it does not say so.

    A pair is just that; of a mapping the one entry of `ANSWERS` is right, and the others are given, by name.
    """
    if isinstance(batch, Mapping):
        named = [key for key in ANSWERS if key in batch]
        return ({k: v for k, v in batch.items() if k != named[0]}, batch[named[0]]) if len(named) == 1 else None
    return (batch[0], batch[1]) if isinstance(batch, (tuple, list)) and len(batch) == 2 else None


def as_classes(answer: Any) -> Tensor | None:
    """Class indices `[b]` in int64, of integers of any width, bool, or floats that are 0 or 1, `[b]` or `[b, 1]`.

    None where they are anything else.
    """
    if not isinstance(answer, Tensor) or answer.is_complex():
        return None
    flat = follows(answer, lambda values: values[:, 0]) if answer.ndim == 2 and answer.shape[1] == 1 else answer
    if flat.ndim != 1 or (flat.is_floating_point() and not bool((on_host(flat) == on_host(flat).bool()).all())):
        return None
    return whole(flat)


def count(batch: Batch) -> int:
    """Number of examples: the length of the first tensor in the batch.

    Raises:
        ConfigurationError: the batch holds no tensor that has a length.
    """
    first = next(_tensors(batch), None)
    if first is None or first.ndim == 0:
        found = f"{type(batch).__name__} without one" if first is None else "a tensor of a single number"
        raise ConfigurationError(
            "a batch must hold a tensor whose first dimension counts the examples "
            f"(a tensor, or a tuple, list or dict of tensors), found {found}"
        )
    return len(first)


def collated(examples: list[Any]) -> Batch:
    """One batch of single examples, as torch makes it; a list of numbers in an example is a tensor of them.

    So are the rows of a Hugging Face data set read, which have lists where others have tensors.

    Raises:
        ConfigurationError: they are of several shapes, or of a kind that no tensor can be made of.
    """
    try:
        if examples and _listed(examples[0]):
            examples = [_tensors_for_lists(each) for each in examples]
        return default_collate(examples)
    except (RuntimeError, TypeError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise ConfigurationError(
            f"examples must be tensors, arrays or numbers of one shape to make a batch: {why}. "
            "Transform them (ToTensor, Resize, to_dense), or pass a DataLoader with a collate_fn."
        ) from error


def check_rows(batch: Batch) -> None:
    """Refuses the columns that torch makes of lists of numbers of one length.

    Raises:
        ConfigurationError: there are some.
    """
    if not isinstance(batch, Mapping):
        return
    for key, each in batch.items():
        if key in _ROWS and isinstance(each, list) and each and all(isinstance(column, Tensor) for column in each):
            raise ConfigurationError(
                f"{key}: expected a tensor, found a list of {len(each)}, as loaders make it of lists of numbers: give "
                "examples as tensors (with_format('torch') of a Hugging Face data set), or a collate_fn that does."
            )


def _listed(example: Any) -> bool:
    """Whether there is a list in an example."""
    parts = example.values() if isinstance(example, Mapping) else example if type(example) in (tuple, list) else ()
    return any(type(each) is list or _listed(each) for each in parts)


def _tensors_for_lists(example: Any, inside: bool = False) -> Any:
    """An example with a tensor for every list of numbers in it, nested ones too; the example itself is no such list."""
    if isinstance(example, Mapping):
        return {key: _tensors_for_lists(each, True) for key, each in example.items()}
    if type(example) is tuple:
        return tuple(_tensors_for_lists(each, True) for each in example)
    if type(example) is not list:
        return example
    if inside and example and _numbers(example):
        return torch.tensor(example)
    return [_tensors_for_lists(each, True) for each in example]


def _numbers(value: Any) -> bool:
    return all(map(_numbers, value)) if type(value) is list else isinstance(value, int | float)


def as_int64(labels: Tensor) -> Tensor:
    """Labels of any integer type, or true and false, as int64, which indexing needs; others as they are."""
    return labels if labels.is_floating_point() or labels.is_complex() else whole(labels)


def whole(labels: Tensor) -> Tensor:
    """The labels as int64; their values stay known `on_host`."""
    return follows(labels, Tensor.long)


def moved(batch: Batch, device: torch.device | str | None) -> Batch:
    """The batch with everything that can move on `device`; None leaves it where it is."""
    if device is None:
        return batch
    return _mapped(batch, partial(copied, device=device))


def in_batches(data: Dataset[Any] | Iterable[Any], size: int, device: torch.device | str | None) -> Iterator[Batch]:
    """Batches of so many examples of a Dataset, or those that are given, `moved`."""
    for batch in DataLoader(data, batch_size=size, collate_fn=collated) if isinstance(data, Dataset) else data:
        yield moved(batch, device)


def divided(batch: Batch, parts: int) -> list[Batch]:
    """The batch in `parts` batches whose sizes differ by one at most.

    Raises:
        ConfigurationError: the batch holds something else than tensors, so it cannot be divided.
    """
    if parts == 1:
        return [batch]
    shares = torch.arange(count(batch)).tensor_split(parts)
    return [_mapped(batch, partial(_cut, rows=rows)) for rows in shares]


def _cut(leaf: Any, rows: Tensor) -> Tensor:
    if not isinstance(leaf, Tensor):
        raise ConfigurationError(
            f"a batch must hold tensors alone to be divided into micro-batches, found {type(leaf).__name__}: "
            "collate it to tensors, or set micro=1 and use a smaller batch"
        )
    if leaf.layout == torch.sparse_coo:
        return leaf.index_select(0, rows.to(leaf.device))
    if leaf.layout != torch.strided:
        raise ConfigurationError(
            f"a batch must be dense or sparse_coo to be divided into micro-batches, found {leaf.layout}: collate it "
            "so, or set micro=1 and use a smaller batch"
        )
    return leaf[int(rows[0]) : int(rows[-1]) + 1]


def _mapped(batch: Batch, function: Callable[[Any], Any]) -> Batch:
    if isinstance(batch, Mapping):
        return {key: _mapped(value, function) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_mapped(value, function) for value in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(_mapped(value, function) for value in batch)
    return function(batch)


def _tensors(batch: Batch) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, (tuple, list, Mapping)):
        for value in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _tensors(value)
