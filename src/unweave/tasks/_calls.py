"""How a model is asked: what a batch gives to its forward, and which tensor of what it returns is the prediction."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from inspect import Parameter
from typing import Any

import torch
from torch import Tensor, nn

from unweave.data.batches import ANSWERS, Batch, answered, check_rows, count
from unweave.errors import ConfigurationError
from unweave.tasks._passes import inner

OWN = "a Task of your own (docs/your-own-task.md)"
_OUT = ("logits", "out")  # of what a transformers, a torchvision model returns
_HALF = (torch.float16, torch.bfloat16)


def parts(batch: Batch, task: str) -> tuple[Any, Any]:
    """What a batch gives to the model, and what is right of it.

    Raises:
        ConfigurationError: it is neither a pair nor a mapping with one entry that is right, or holds lists of columns.
    """
    check_rows(batch)
    if (found := answered(batch)) is not None:
        return found
    words = type(batch).__name__
    if isinstance(batch, Mapping):
        words += f" with the keys {', '.join(map(str, batch))}"
    elif isinstance(batch, (tuple, list)):
        words += f" of {len(batch)} parts"
    raise ConfigurationError(
        f"task {task!r} reads batches (inputs, labels), or mappings with exactly one of {', '.join(ANSWERS)}; this "
        f"data set gives {words}. Let its items (or the loader's collate_fn) be such, or pass {OWN}."
    )


def output(model: nn.Module, batch: Batch, task: str) -> Tensor:
    """What the model predicts for a batch, in float32 or better.

    Of a pair the inputs are given by position, or by name, where they are a mapping whose keys the forward takes. Of a
    mapping all that is not the answer is given by name; a single entry that the forward does not name, by position.

    Raises:
        ConfigurationError: the forward does not take what the batch has, or returns no real tensor of predictions.
    """
    inputs, _ = parts(batch, task)
    found = _called(model, inputs, isinstance(batch, Mapping))
    for name in _OUT:
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif not isinstance(found, Tensor) and hasattr(found, name):
            found = getattr(found, name)
    if not isinstance(found, Tensor):
        raise ConfigurationError(
            f"The model must return logits, a tensor or an object with .logits; it returned {type(found).__name__}. "
            f"Wrap it so that its forward returns them alone, or pass {OWN}."
        )
    if found.is_complex():
        raise ConfigurationError(
            f"The model must return real logits; it returned {found.dtype}. Wrap it so that its forward returns "
            f"their modulus or real part, or pass {OWN}."
        )
    if not found.is_floating_point():
        raise ConfigurationError(
            f"The model must return logits or amounts, floating-point numbers; it returned {found.dtype}. If its "
            f"forward ends in argmax or a comparison take that out, so that a gradient flows, or pass {OWN}."
        )
    if not found.ndim:
        found = _unsqueezed(found, inputs)
    return found.float() if found.dtype in _HALF else found


def _unsqueezed(found: Tensor, inputs: Any) -> Tensor:
    """`[1]` of a single number, where there is one example: a forward that squeezes leaves no more of it.

    Raises:
        ConfigurationError: there are more.
    """
    if (examples := count(inputs)) == 1:
        return found[None]
    raise ConfigurationError(
        f"The model must return a prediction for each example; it returned a single number for {examples}. Let its "
        "forward not reduce over the batch: it should return predictions, not their loss."
    )


def _called(model: nn.Module, inputs: Any, mapping: bool) -> Any:
    if not isinstance(inputs, Mapping):
        return model(inputs)
    names, anything = _takes(model)
    strange = [name for name in inputs if name not in names]
    if not strange or (mapping and anything):
        return model(**inputs)
    if not mapping:
        return model(inputs)
    if len(inputs) == 1:
        return model(next(iter(inputs.values())))
    raise ConfigurationError(
        f"the forward of the model takes {', '.join(names) or 'nothing by name'}; the batch also has "
        f"{', '.join(strange)}. Name the entries as the forward does, and leave the others out (collate_fn, or "
        "remove_columns of a Hugging Face data set)."
    )


def _takes(model: nn.Module) -> tuple[list[str], bool]:
    """The names that a forward has, and whether it takes any other; inside wrappers, where their own says nothing."""
    while True:
        every = list(inspect.signature(type(model).forward).parameters.values())[1:]
        anything = any(each.kind is Parameter.VAR_KEYWORD for each in every)
        if not anything or (wrapped := inner(model)) is model:
            named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
            return [each.name for each in every if each.kind in named], anything
        model = wrapped
