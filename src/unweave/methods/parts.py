"""Parts of rows that are more than a loss, and forget sides that depend on what the model does."""

from __future__ import annotations

from typing import Literal

from torch import nn

from unweave.arguments import check_value
from unweave.losses import (
    Ascent,
    Divergence,
    DivergenceEverywhere,
    NegativeGuidance,
    RandomLabels,
    Reference,
    Relabel,
    Weighted,
    incompetent,
    reference,
)
from unweave.losses._base import denoises, predicts
from unweave.methods._base import ascent
from unweave.objectives import Loss
from unweave.tasks import Task


def close(task: Task, reference: Reference, compat: Literal["open-unlearning"] | None = None) -> Loss:
    """To the original model, at the answers or everywhere."""
    check_value("compat", compat, Literal["open-unlearning"] | None)
    return Divergence(task, reference) if compat is None else DivergenceEverywhere(task, reference)


def away(task: Task, reference: Reference, temperature: float | None = None) -> Loss:
    """From the original model; None is the authors' temperature, 4, and 1 of a task without predictions."""
    return Ascent(Divergence(task, reference, _temperature(task, temperature)))


def beside(
    task: Task, reference: Reference, temperature: float | None, alpha: float = 0.001, gamma: float = 0.99
) -> Loss:
    """To the original model and to the data, with SCRUB's weights."""
    check_value("alpha", alpha, float)
    check_value("gamma", gamma, float)
    return Weighted(((alpha, Divergence(task, reference, _temperature(task, temperature))), (gamma, task.nll)))


def unknowing(task: Task, original: nn.Module, seed: int = 0) -> Loss:
    """To a teacher that knows nothing."""
    return Divergence(task, incompetent(original, seed))


def if_any(task: Task, retain: float = 0.0) -> Loss | None:
    """A retain side where its weight is not 0."""
    return task.nll if retain else None


def share(share: float = 0.5) -> float:
    """The share of the weights that may move."""
    check_value("share", share, float, "(0, 1]")
    return share


def _temperature(task: Task, given: float | None) -> float:
    return given if given is not None else 4.0 if predicts(task) else 1.0


def unlike(task: Task, original: nn.Module) -> Loss:
    """Ascent on the nll; of a diffusion model, whose squared error has no bound, another condition's prediction."""
    return Relabel(task, reference(original)) if denoises(task) else ascent(task)


def relabelled(task: Task, original: nn.Module, exclude_true: bool = False) -> Loss:
    """Random labels, or of a diffusion model the prediction for a random other condition."""
    if not denoises(task):
        return RandomLabels(task, exclude_true)
    check_value("exclude_true", exclude_true, bool)
    return Relabel(task, reference(original))


def relabelled_as_shipped(task: Task) -> Loss:
    """Random labels, or of a diffusion model what the current model predicts for the next condition."""
    return Relabel(task, None, "next") if denoises(task) else RandomLabels(task)


def other_condition(task: Task, reference: Reference, to: int | str = "random", classes: int | None = None) -> Loss:
    """What the original predicts for another condition."""
    return Relabel(task, reference, to, classes)


def anchored(task: Task, to: int | str = "next", classes: int | None = None) -> Loss:
    """What the current model predicts for another condition."""
    return Relabel(task, None, to, classes)


def guided_away(task: Task, reference: Reference, eta: float = 1.0, at: int | str | None = None) -> Loss:
    """Away from the condition by negative guidance."""
    return NegativeGuidance(task, reference, eta, at)
