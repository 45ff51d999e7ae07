"""Which conditions an edit erases, what they are taken for, and which it preserves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unweave.arguments import wrong
from unweave.data.batches import Batch, as_int64, in_batches
from unweave.errors import ConfigurationError
from unweave.tasks import Diffusion
from unweave.tasks._denoisers import read, words

Data = Dataset[Any] | Iterable[Any]
Given = Tensor | Sequence[int | str]
_WORDS = "classes [n] (integers of at least 0), embeddings [n, L, D], tokens [n, D] or names"


def several(name: str, given: Any) -> str:
    """What erase and preserve may be."""
    if not isinstance(given, Tensor):
        listed = isinstance(given, Sequence) and not isinstance(given, str | bytes) and len(given) > 0
        return (
            ""
            if listed and all(type(c) is str or (type(c) is int and c >= 0) for c in given)
            else wrong(name, _WORDS, given)
        )
    floats = given.is_floating_point()
    if given.is_complex() or not given.numel() or given.ndim not in ((2, 3) if floats else (1,)):
        return f"{name} must be {_WORDS}; found {list(given.shape)} of {given.dtype}."
    return "" if bool((given.isfinite() if floats else given >= 0).all()) else f"{name}: {_ODD}"


def guiding(name: str, given: Any) -> str:
    """What guide may be: one as well."""
    if isinstance(given, Tensor) and given.ndim == (1 if given.is_floating_point() else 0):
        return several(name, given[None])
    return "" if isinstance(given, str) or (type(given) is int and given >= 0) else several(name, given)


def tensor(task: Diffusion, given: Given | int | str) -> Tensor:
    """Conditions on the CPU.

    Raises:
        ConfigurationError: a name that stands for nothing, or conditions of several kinds.
    """
    if isinstance(given, Sequence) and not isinstance(given, str):
        given = torch.stack([torch.as_tensor(task.condition(each)) for each in given])
    return as_int64(torch.as_tensor(given if isinstance(given, Tensor) else task.condition(given))).detach().cpu()


def unknown(task: Diffusion, name: str, given: Any) -> str:
    """What is wrong with classes beyond the null class, which comes after all that a model knows.

    Raises:
        ConfigurationError: a name that stands for nothing.
    """
    if given is None or (isinstance(given, Tensor) and given.is_floating_point()) or not isinstance(task.null, int):
        return ""
    every = [given] if isinstance(given, int | str) else given
    meant = (int(task.condition(each) if isinstance(each, str) else each) for each in every)
    odd = [each for each in meant if each > task.null]
    known = f"0 to {task.null - 1}, or {task.null} for none"
    return f"{name} must be classes that the model knows, {known}; found {', '.join(map(str, odd))}." if odd else ""


def distinct(data: Data, size: int, name: str, *, only_first: bool = False) -> tuple[Batch, Tensor]:
    """The first batch of a set, and its distinct conditions in the order of the data; or those of this batch alone.

    Raises:
        ConfigurationError: there is no batch, they are of several shapes, or not finite.
    """
    first, found = None, dict[bytes, Tensor]()
    for batch in in_batches(data, size, None):
        condition = read(batch)[1].detach().cpu()
        if not bool(condition.isfinite().all()):
            raise ConfigurationError(f"{name}: {_ODD}")
        found |= keyed(condition)
        first = batch if first is None else first
        if only_first:
            break
    if first is None:
        raise ConfigurationError(f"{name} is empty: there is no batch whose conditions could be read.")
    if len(shapes := {tuple(each.shape) for each in found.values()}) > 1:
        listed = " and ".join(str(list(shape)) for shape in sorted(shapes))
        raise ConfigurationError(f"{name}: all conditions must have one shape; found {listed}. Pad the texts to one.")
    return first, torch.stack(list(found.values()))


def keyed(conditions: Tensor) -> dict[bytes, Tensor]:
    """Each by its values, whatever its precision; one that occurs twice is there once."""
    same = conditions.double() + 0.0 if conditions.is_floating_point() else conditions  # -0 is 0
    return {hashlib.sha256(v.numpy().tobytes()).digest(): c for v, c in zip(same, conditions, strict=True)}


def guides(task: Diffusion, erase: Tensor, given: Given | int | str | None) -> Tensor:
    """What each of the edited conditions is taken for, like `erase`.

    Raises:
        ConfigurationError: nothing is given and the task has no null; or it is of another kind or shape.
    """
    if given is None and task.null is None:
        task.nothing(erase, "uce without a guide")
    found = tensor(task, given if given is not None else task.null)  # type: ignore[arg-type]
    if found.is_floating_point() == erase.is_floating_point() and found.shape in (erase.shape, erase.shape[1:]):
        return found.expand_as(erase)
    raise ConfigurationError(
        f"guide{' (the null condition of the task)' if given is None else ''} must be one condition like those that "
        f"are edited, {words(erase[0])}, or one for each of the {len(erase)}; found {words(found)}."
    )


def check_apart(erase: Tensor, guide: Tensor, preserve: Tensor) -> None:
    """Refuses a condition that shall be edited and preserved, or is its own guide.

    Raises:
        ConfigurationError: there is one, or they are of two kinds.
    """
    if erase.is_floating_point() != preserve.is_floating_point():
        raise ConfigurationError(
            f"preserve must be of the kind of what is edited, {words(erase[0])}; found {words(preserve[0])}."
        )
    wanted = keyed(erase)
    for name, others in (("preserve", preserve), ("guide", guide)):
        if both := [each for key, each in keyed(others).items() if key in wanted]:
            which = "" if erase.is_floating_point() else f" ({', '.join(str(int(each)) for each in both[:5])})"
            raise ConfigurationError(
                f"{name}: {len(both)} of these conditions{which} shall be edited as well, and an edit of conditions "
                "tells no two examples of one apart. Say others, or choose a method with steps."
            )


def without(conditions: Tensor, others: Tensor) -> Tensor:
    """The distinct ones of the first that are not among the others."""
    known = keyed(others)
    left = [each for key, each in keyed(conditions).items() if key not in known]
    return torch.stack(left) if left else conditions[:0]


def rows(conditions: Tensor, tokens: str) -> Tensor:
    """The tokens of conditions `[n, L, D]` as rows, `[., D]`; rows are what they are."""
    if conditions.ndim == 2:
        return conditions
    return conditions[:, -1] if tokens == "last" else conditions.flatten(0, 1)


def pairs(erase: Tensor, guide: Tensor, tokens: str) -> tuple[Tensor, Tensor]:
    """Tokens that are edited and what each is taken for, rows `[., D]`.

    Raises:
        ConfigurationError: the last token of a condition is that of its guide.
    """
    if erase.ndim == 2:
        return erase, guide
    differs = (erase != guide).any(-1)
    if tokens == "all":
        after = differs.long().cumsum(1) > 0
        return erase[after], guide[after]
    if not bool(differs[:, -1].all()):
        raise ConfigurationError(
            "tokens='last': the last position of an edited condition is that of its guide, padding perhaps. Take "
            "tokens='all', or pass the tokens that are meant, erase=[n, D] and guide=[D]."
        )
    return rows(erase, tokens), rows(guide, tokens)


def check_width(named: Mapping[str, Tensor], width: int, reader: str) -> None:
    """Refuses conditions that a matrix cannot read.

    Raises:
        ConfigurationError: some have another width.
    """
    for name, each in named.items():
        if each.shape[-1] != width:
            raise ConfigurationError(
                f"{name}: {reader} reads conditions of width {width}; found {each.shape[-1]}. Take the embeddings of "
                "the text encoder that the model was trained with."
            )


_ODD = "there are conditions with values that are not finite, or classes below 0."
