"""What can be seen of a model that predicts, before it is unlearned: whether it fits its data at all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unweave.devices import finest

_SURE = 2.33  # standard errors: one-sided 1 %
_ROUNDED = 1e-3  # by which probabilities may miss a sum of 1
FEW = 20  # values or examples, below which nothing is said


def probabilities(outputs: Sequence[Tensor], dim: int = 1) -> list[str]:
    """What to say of outputs that are probabilities where logits are meant.

    They all lie in [0, 1], not all at one end, and sum to 1 over the classes, or are one for each.

    Args:
        outputs: of batches, `[b, classes, ...]`.
        dim: of the classes.
    """
    values = sum(each.numel() for each in outputs)
    if values < FEW or not all(bool(((each >= 0) & (each <= 1)).all()) for each in outputs):
        return []
    if outputs[0].shape[dim] > 1 and not all(bool(((each.sum(dim) - 1).abs() < _ROUNDED).all()) for each in outputs):
        return []
    if all(bool((each == each.flatten()[0]).all()) for each in outputs):
        return []  # a model that says nothing
    squash = "softmax" if outputs[0].shape[dim] > 1 else "sigmoid"
    return [
        f"all {values} outputs of the model that were looked at are probabilities, and logits are expected: its "
        f"losses would be wrong. Take the {squash} out of its forward, or wrap it so that it returns their logarithm"
        f"{'' if squash == 'softmax' else ' of the odds, torch.logit(p)'}."
    ]


def no_better(right: Tensor, guess: Tensor, what: str, *, least: bool = False) -> list[str]:
    """What to say of a model that is right no more often than a constant guess.

    Args:
        right: how right the model is of each example, `[n]`.
        guess: the same of the best constant guess.
        what: it is, with places for both means.
        least: smaller is better.
    """
    gap = finest(guess - right if least else right - guess)
    if len(gap) < FEW or not bool(gap.isfinite().all()):
        return []
    if bool(gap.mean() > _SURE * gap.std() / len(gap) ** 0.5):
        return []
    return [
        f"the original is no better than a constant guess: {what.format(float(right.mean()), float(guess.mean()))} on "
        f"{len(gap)} examples. There is nothing to keep: check that this is the trained checkpoint, and that inputs "
        "and targets are scaled and numbered as in its training."
    ]


def held(values: Sequence[Tensor]) -> Tensor:
    """All of them in float64 on the CPU."""
    return torch.cat([torch.empty(0).double(), *(each.detach().cpu().double() for each in values)])
