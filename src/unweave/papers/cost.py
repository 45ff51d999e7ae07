"""What an experiment will cost, before anything is loaded: from its sizes, its methods and their steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from unweave.methods import Method
from unweave.modalities import of
from unweave.modalities.memory import FLOAT, kept_by, method_of, peak
from unweave.papers.experiment import Cell, Scale, Sizes
from unweave.rules import GradientRule, LossRule

BACKWARD = 2  # forward passes' worth of operations that a backward pass takes
_TENSORS = 100  # of which a model's weights are taken to be, all equal
_LOOKS = 6  # gradients of each side in a step of a rule with a backward of its own


@dataclass(frozen=True)
class Estimate:
    """Of a grid.

    Attributes:
        runs: how many.
        memory: bytes at the peak of a step, of the run that needs most.
        training, steps: seconds of the models that are trained first, and of the steps of all runs.
    """

    runs: int
    memory: int
    training: float
    steps: float


def estimate(scale: Scale, cells: Sequence[Cell], overrides: Sequence[str] = ()) -> Estimate | None:
    """Of the cells of a grid; None where nobody gave its sizes.

    A step differentiates both sides: a forward and a backward pass of each example, as often as its rule asks. The
    memory is that of `modalities.memory.peak`, the time what so many operations take.
    """
    sizes = scale.sizes
    if sizes is None:
        return None
    with torch.device("meta"):
        empty = nn.Linear(1, int(sizes.parameters), bias=False)
    moving, one = int(sizes.moving or sizes.parameters), sizes.forward * (1 + BACKWARD) / sizes.speed
    steps, most = 0.0, 0
    for cell in cells:
        document, recipe = cell.document(overrides), cell.recipe(overrides)
        method, run = method_of(recipe, of(recipe).task(document), empty), recipe.run
        known = isinstance(method, Method) and isinstance(method.rule, GradientRule | LossRule)
        steps += run.steps * (1 if known else _LOOKS) * (run.forget_batch + run.retain_batch) * one
        batch = -(-max(run.forget_batch, run.retain_batch) // run.micro)
        needed = peak(
            recipe,
            method,
            [moving // _TENSORS] * _TENSORS,
            weights=int(sizes.parameters) * sizes.width,
            reference=0 if sizes.moving else kept_by(method),  # adapters that are off stand for the original
            activations=int(batch * sizes.activations) * FLOAT,
            together=int((run.forget_batch + run.retain_batch) * sizes.activations) * FLOAT,
        )
        most = max(most, needed.total)
    return Estimate(len(cells), most, _training(scale, sizes, one), steps)


def _training(scale: Scale, sizes: Sizes, one: float) -> float:
    return len(scale.seeds) * sizes.trained * sizes.epochs * sizes.examples * one
