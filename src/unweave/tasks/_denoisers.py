"""How a denoiser is called: what a batch holds, what its forward takes, and what of its output is the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unweave.data.batches import Batch, as_int64
from unweave.data.twins import on_host
from unweave.errors import ConfigurationError
from unweave.tasks._passes import inner, takes


def read(batch: Batch) -> tuple[Tensor, Tensor]:
    """`x0` and the conditions of a batch."""
    if not isinstance(batch, Mapping):
        found = type(batch).__name__
    else:
        missing = [key for key in ("x0", "condition") if not isinstance(batch.get(key), Tensor)]
        found = "" if not missing else f"no tensor {' and no '.join(missing)} among {', '.join(map(str, batch))}"
    if found:
        raise ConfigurationError(
            "task 'diffusion' reads batches {'x0': [b, ...], 'condition': [b] or [b, L, D]}; found "
            f"{found}. Let the items of the data set (or the loader's collate_fn) be such mappings."
        )
    x0, condition = batch["x0"], as_int64(batch["condition"])
    if x0.ndim < 2 or not x0.is_floating_point():
        raise ConfigurationError(
            f"x0 must be images or latents [b, ...] in the scale of the training, as floats; found {list(x0.shape)} of "
            f"{x0.dtype}."
        )
    if len(condition) != len(x0) or condition.is_floating_point() != (condition.ndim > 1):
        raise ConfigurationError(
            f"condition must be {len(x0)} classes [b] (integers) or embeddings [b, L, D] (floats); found "
            f"{list(condition.shape)} of {condition.dtype}."
        )
    return x0, condition


def native(model: nn.Module, x: Tensor, t: Tensor, condition: Tensor) -> Any:
    """A model of diffusers, by the signature of its forward."""
    for name, embedded in (("encoder_hidden_states", True), ("class_labels", False)):
        if takes(model, name):
            if condition.is_floating_point() != embedded:
                raise ConfigurationError(
                    f"{type(inner(model)).__name__} takes {name}, "
                    f"{'embeddings [b, L, D]' if embedded else 'classes [b]'}; the batch's conditions are "
                    f"{words(condition[0])} each."
                )
            return model(x, timestep=t, **{name: condition})
    raise ConfigurationError(
        f"the forward of {type(inner(model)).__name__} takes neither class_labels nor encoder_hidden_states: say how "
        "the model is called, Diffusion(schedule, call=lambda model, x, t, condition: ...)."
    )


def check_classes(model: nn.Module, condition: Tensor) -> None:
    """Refuses classes that a model of diffusers has no embedding for, before a device does without words."""
    if condition.is_floating_point():
        return
    config = getattr(inner(model), "config", None)
    rows = getattr(config, "num_class_embeds", None)
    if rows is None and (classes := getattr(config, "num_embeds_ada_norm", None)) is not None:
        rows = classes + 1  # the last means none
    low, high = (int(each) for each in torch.stack(on_host(condition).aminmax()).tolist())
    if low < 0 or (rows is not None and high >= rows):
        told = f"{rows} conditions (0 to {rows - 1})" if rows is not None else "conditions from 0 on"
        raise ConfigurationError(
            f"The model knows {told}; {between(condition)}. Number the classes from 0, and take a model that was "
            "trained with as many."
        )


def prediction(output: Any, x: Tensor) -> Tensor:
    """The tensor in a model's output, without variance channels, in float32 or better."""
    found = getattr(output, "sample", output)
    found = found[0] if isinstance(found, Sequence) and len(found) else found
    if not isinstance(found, Tensor):
        raise ConfigurationError(
            f"The model must return a prediction like its input, {list(x.shape)}; it returned {type(found).__name__}."
        )
    if found.ndim == x.ndim and found.shape[1] == 2 * x.shape[1]:
        found = found[:, : x.shape[1]]  # learned variance
    if found.shape != x.shape:
        raise ConfigurationError(
            f"The model must return a prediction like its input, {list(x.shape)} (or with twice the channels); it "
            f"returned {list(found.shape)}."
        )
    return found.float() if found.dtype in (torch.float16, torch.bfloat16) else found


def between(condition: Tensor) -> str:
    """What the conditions of a batch are, from the lowest to the highest."""
    low, high = condition.aminmax()
    return f"the batch has conditions from {low.item()} to {high.item()}"


def words(one: Tensor) -> str:
    """What one condition is."""
    return f"embeddings {list(one.shape)}" if one.is_floating_point() else f"a class {list(one.shape)}"
