"""Where a run computes, and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from unweave.errors import ConfigurationError

if TYPE_CHECKING:
    from accelerate import Accelerator


def chosen(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of a recipe; auto is a GPU if there is one.

    Raises:
        ConfigurationError: a GPU is asked for, and there is none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigurationError("run.device: cuda is asked for, and torch finds no GPU: use auto or cpu.")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def accelerated(
    model: nn.Module, precision: Literal["float32", "bfloat16"], device: torch.device
) -> Accelerator | None:
    """The accelerator that runs the model's passes in bfloat16, the weights staying as they are; None for float32.

    Raises:
        ConfigurationError: bfloat16 on a CPU, where it is slower and rounds without need.
    """
    if precision == "float32":
        return None
    if device.type == "cpu":
        raise ConfigurationError(
            "run.precision: bfloat16 is for GPUs, and this run is on the CPU: use float32, or -s run.precision=float32."
        )
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision="bf16")
    accelerator.prepare_model(model)
    return accelerator
