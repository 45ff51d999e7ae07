"""Whether a diffusion model, its schedule and its data fit each other: what an nll alone does not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unweave.data.batches import Batch, count
from unweave.tasks._denoisers import read

if TYPE_CHECKING:
    from unweave.tasks.diffusion import Diffusion

FEW = 50  # examples, below which differences say too little
_SURE = 2.33  # standard errors: one-sided 1 %
_SQUARE, _PIXEL = 4.0, 1.5  # what no mean square of latents, and no pixel of images in [-1, 1], is above
_BETTER = 0.9  # of the loss: what a schedule of one's own leaves to gain is less
_SHIFT = 10  # the tenth part of all timesteps
_COLOURS = (1, 3)


def doubts(task: Diffusion, model: nn.Module, batches: Sequence[Batch]) -> list[str]:
    """What does not look right, each with what to do.

    * The inputs are of another scale: pixels beyond 1.5 (of one or three channels), or a mean square over 4.
    * The loss is not below that of predicting 0: the model is not trained, or for something else.
    * With the conditions of other examples it is as low, at the same timesteps and noise: conditions do not fit.
    * With a timestep that is a tenth of all earlier or later it is lower by a tenth: the schedule is another one.

    Args:
        task: the model's.
        model: the original, in evaluation mode.
        batches: retain examples.
    """
    own, found = replace(task, looks=1, dropout=0.0, weighting="none"), list[list[Tensor]]()
    low, high, square, whole = 0.0, 0.0, 0.0, 0
    differs: list[Tensor] = []
    for batch, strange in zip(batches, of_others([read(batch)[1] for batch in batches]), strict=True):
        noised = own.draw(batch, shares=(0.2, 0.8))
        other = strange.to(noised.condition)
        differs.append((other != noised.condition).view(len(other), -1).any(1).cpu())
        losses = [own.distance(model, noised, noised.target), own.reduced(noised.target.square(), noised.t)]
        losses.append(own.distance(model, noised, noised.target, other))
        for step in (-1, 1):
            moved = replace(noised, t=noised.t + step * (len(own.schedule) // _SHIFT))
            losses.append(own.distance(model, moved, noised.target))
        found.append([each.cpu().double() for each in losses])
        x = batch["x0"]
        low, high = min(low, float(x.min())), max(high, float(x.max()))
        square, whole = square + float(x.cpu().double().square().mean()) * count(batch), whole + count(batch)
        colours = x.ndim == 4 and x.shape[1] in _COLOURS
    if not whole:
        return []
    loss, nothing, shuffled, before, after = (torch.cat(each) for each in zip(*found, strict=True))
    told = []
    if square / whole > _SQUARE or (colours and max(high, -low) > _PIXEL):
        told.append(
            f"x0 lies in [{low:.3g}, {high:.3g}], with a mean square of {square / whole:.3g}: a diffusion model is "
            "trained on images in [-1, 1], or on latents times vae.config.scaling_factor. Scale the inputs as in its "
            "training."
        )
    if whole < FEW:
        return told
    if not _below(loss, nothing):
        told.append(
            f"the loss on {whole} retain examples is {float(loss.mean()):.3g}, and a model that always answers 0 has "
            f"{float(nothing.mean()):.3g}. There is nothing to keep: check that this is the trained checkpoint, and "
            "that prediction type, schedule and scale of the inputs are those of its training."
        )
        return told  # what follows is about a model that has learned something
    other = torch.cat(differs)
    if int(other.sum()) >= FEW and not _below(loss[other], shuffled[other]):
        values = [float(each[other].mean()) for each in (shuffled, loss)]
        told.append(
            f"with the conditions of others the loss on {int(other.sum())} retain examples is {values[0]:.4g}, with "
            f"their own {values[1]:.4g}: the conditions do not fit the images. Number the classes as in the model's "
            "training, and check that conditions and images are not shifted against each other."
        )
        return told  # to a model that is told the wrong condition, another timestep may seem the right one
    for word, moved_loss in (("earlier", before), ("later", after)):
        if _below(moved_loss, loss) and moved_loss.mean() < _BETTER * loss.mean():
            told.append(
                f"told a timestep that is {len(own.schedule) // _SHIFT} {word}, the model denoises better (a loss of "
                f"{float(moved_loss.mean()):.4g}, not {float(loss.mean()):.4g}): its schedule is another one, or its "
                "inputs were of another scale. Take the scheduler_config.json that came with the model, and scale "
                "images to [-1, 1]."
            )
    return told


def of_others(conditions: Sequence[Tensor]) -> list[Tensor]:
    """Conditions in another order: of all batches, as rows that are sorted by class have none but their own nearby.

    Of each batch by itself where they differ in shape, as texts of other lengths do.
    """
    if len({each.shape[1:] for each in conditions}) > 1:
        return [each[torch.randperm(len(each)).to(each.device)] for each in conditions]
    whole = torch.cat(list(conditions)) if conditions else torch.empty(0)
    return list(whole[torch.randperm(len(whole)).to(whole.device)].split([len(each) for each in conditions]))


def _below(first: Tensor, second: Tensor) -> bool:
    """Whether the mean of the first is below that of the second, example by example, by more than chance."""
    gap = second - first
    return bool(gap.mean() > _SURE * gap.std() / len(gap) ** 0.5)
