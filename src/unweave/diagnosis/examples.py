"""Example by example: how each one's loss changes along a direction, from forward passes alone, and what follows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from unweave.data.batches import Batch, count
from unweave.errors import ConfigurationError
from unweave.execution import bare, reshard, seeded
from unweave.gramian import Gradient, norm
from unweave.modules import evaluating
from unweave.objectives import Loss, Objectives
from unweave.samples import Sample
from unweave.tasks import Known, Task

STEP = 1e-3  # of the parameters' norm: how far the difference reaches, as far as the trust region's first step
_ROUNDING = 8.0  # the least reach in units of the parameters' precision
_FARTHEST = 1e9  # in units of parameter length: beyond it the forget loss does not rise along this direction


@dataclass(frozen=True, eq=False)
class Along:
    """Losses and their change along a unit direction, example by example; float64 on the CPU.

    Args:
        value: at the parameters, `[n]`.
        slope: first derivative, per unit of parameter length, `[n]`.
        curvature: second derivative, `[n]`.
        reach: how far the difference reached, as a share of the parameters' norm.
    """

    value: Tensor
    slope: Tensor
    curvature: Tensor
    reach: float


@torch.no_grad()
def along(
    objectives: Objectives,
    loss: Loss,
    sample: Sample,
    direction: Gradient,
    step: float = STEP,
    value: Tensor | None = None,
) -> Along:
    """The directional derivative of each example's loss, by a central difference of two forward passes.

        slope_i     = (l_i(theta + h v) - l_i(theta - h v)) / 2h   =   <grad l_i, v>  +  O(h^2)
        curvature_i = (l_i(theta + h v) - 2 l_i(theta) + l_i(theta - h v)) / h^2,    v = direction / |direction|

    Positive: a step along `direction` raises the example's loss. Costs three forward passes over the sample, two where
    the losses at theta are known; no gradient of a single example is formed. The model runs in evaluation mode with
    the same randomness and buffers at all points. Weights are put back from a copy, to the bit; modes, buffers and the
    random state too.

    Args:
        objectives: give the parameters, and move them.
        loss: `(model, batch) -> [b]`.
        sample: the examples.
        direction: one tensor per parameter, of any length but 0.
        step: h as a share of the parameters' norm; raised where their precision could not show it.
        value: the losses at theta, `[n]`, if known.

    Raises:
        ConfigurationError: a direction of length 0 or not finite, or a loss that is not one value per example.
    """
    length = float(norm(direction))
    if not 0 < length < float("inf"):
        raise ConfigurationError(f"A direction must have a length above 0; found {length}.")
    model, parameters = objectives.model, objectives.parameters
    size = max(float(norm([p.detach() for p in parameters])), 1e-3)
    reach = max(step, _ROUNDING * torch.finfo(parameters[0].dtype).eps)
    h, before = reach * size, objectives.snapshot()
    try:
        middle = _losses(model, loss, sample) if value is None else value
        objectives.move(direction, h / length)
        above = _losses(model, loss, sample)
        objectives.restore(before)
        objectives.move(direction, -h / length)
        below = _losses(model, loss, sample)
    finally:
        objectives.restore(before)
    return Along(middle, (above - below) / (2 * h), (above - 2 * middle + below) / h**2, reach)


def _losses(model: nn.Module, loss: Loss, sample: Sample) -> Tensor:
    found = []
    with evaluating(model):
        for i, batch in enumerate(sample):
            with seeded(i):
                found.append(_checked(loss(bare(model), batch), batch))
            reshard(model)
    return torch.cat(found)


def _checked(values: Tensor, batch: Batch) -> Tensor:
    if values.shape != (count(batch),):
        raise ConfigurationError(
            f"A loss must return one value per example, [{count(batch)}]; it returned {tuple(values.shape)}."
        )
    return values.cpu().double()


def forecast(forget: Along, retain: Along, rise: float) -> float:
    """The rise of the mean retain nll where the mean forget nll has risen by `rise`, both along `grad L_f`.

    Every example's log-odds are taken to change at their slope, `s_i + t v_i`, and `nll = log(1 + exp(s))`:

        mean_i nll(s_i + t f_i) - nll(s_i) = rise  gives t,   and   mean_j nll(s_j + t c_j) - nll(s_j)  is the forecast.

    So it counts how far the forget examples have to go and how much the retain examples can lose before it shows,
    which a slope of the loss does not.

    Args:
        forget: log-odds of the forget examples along the direction.
        retain: of the retain examples.
        rise: nats, above 0.

    Returns:
        Nats; NaN where the forget loss cannot rise by so much this way.
    """
    t = length(forget, rise)
    return t if math.isnan(t) else risen(retain, t)


def length(forget: Along, rise: float) -> float:
    """`t` of `forecast`, in the unit of parameter length; NaN where there is none."""
    low, high = 0.0, 1e-6
    while risen(forget, high) < rise:
        low, high = high, 2 * high
        if high > _FARTHEST:
            return math.nan
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if risen(forget, middle) < rise else (low, middle)
    return high


def risen(found: Along, t: float) -> float:
    """Rise of the mean nll `t` along the direction."""
    return float((softplus(found.value + t * found.slope) - softplus(found.value)).mean())


def log_odds(task: Task) -> Loss:
    """Per-example `s = log((1 - p) / p) = log(exp(nll) - 1)`, `(model, batch) -> [b]`, in nats.

    `grad s = grad nll / (1 - p)`: the same direction for each example, but an example that the model is sure of counts
    as much as one that it is not. In a mean of nll gradients the few unsure ones decide; and where training has
    converged, `n_f grad L_f + n_r grad L_r = 0`, so that the two sides' nll gradients point against each other whatever
    the request is. `docs/LOG.md` has how well either ranks requests.

    Classifiers' odds come from the logits and keep their precision; other tasks' from the nll, where an example
    below 1e-6 nats has no slope.

    Args:
        task: gives the nll, logits, or odds of its own.
    """
    return Known(task).odds
