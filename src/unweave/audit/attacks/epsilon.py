r"""A lower bound of epsilon that is one: the rule is chosen on half of the models and judged on the other.

If unlearned and retrained models are (eps, delta)-indistinguishable, every rule has `fpr + e^eps fnr >= 1 - delta` both
ways. With Clopper-Pearson upper limits of fpr and fnr on the second half,

    eps_lo = max(0, log((1 - delta - fpr+) / fnr+), log((1 - delta - fnr+) / fpr+)).

Jagielski, Ullman and Oprea, NeurIPS 2020. Two perfect counts give the ceiling: m models a side cannot show more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unweave.audit.attacks.pools import pools
from unweave.errors import ConfigurationError
from unweave.evaluation.intervals import proportion_interval
from unweave.evaluation.metric import Array, Measurement, Metric, Null, Score

EPSILON = Metric(
    "epsilon_lower_bound",
    "95 % lower bound of the epsilon by which unlearned and retrained models differ, rule and rates on separate models",
    "nats",
    "lower",
    (0, math.inf),
    "run",
    "8 unlearned and 8 retrained models; the ceiling says what they can show",
    "fewer than four models on a side, or a margin that is not finite",
    "Jagielski et al., NeurIPS 2020",
    plain="how far from retraining at least",
)
CEILING = Metric(
    "epsilon_ceiling",
    "the largest epsilon_lower_bound that so many models could have shown: that of a rule without a mistake",
    *("nats", "higher", (0, math.inf), "run", "the two numbers of models", "never", EPSILON.source),
    "says nothing of the method: a bound of 0 under a ceiling of 0 is no evidence",
    plain="the most that so many models could show of it",
)


@dataclass(frozen=True)
class Bound:
    """The bound and its ceiling: the largest value that this experiment could have shown."""

    evidence: Score
    ceiling: float


def epsilon_bound(unlearned: ArrayLike, retrained: ArrayLike, *, delta: float = 0.0, seed: int = 0) -> Bound:
    """The lower bound from margins `[N, n]` and `[M, n]`, or from one number a model, `[N]` and `[M]`.

    The rule weighs the examples by their difference over variance in the first half, and cuts that sum where the first
    half gives the most.

    Args:
        unlearned: a row per unlearned model. Its claim is about the process that made them: one original, or many.
        retrained: a row per retrained model.
        delta: of (eps, delta).
        seed: of the halves.

    Raises:
        ConfigurationError: delta is no probability below 1.
    """
    if not 0 <= delta < 1:
        raise ConfigurationError(f"delta is a probability below 1; found {delta}.")
    sides = [np.asarray(x, dtype=np.float64) for x in (unlearned, retrained)]
    sides = [x[:, None] if x.ndim == 1 else x for x in sides]
    sizes = {"unlearned runs": len(sides[0]), "retrained runs": len(sides[1])}
    judged = [n - n // 2 for n in sizes.values()]
    ceiling = _bound(0, judged[0], 0, judged[1], delta)

    def measure() -> Measurement:
        u, r = pools(sides[0], sides[1], at_least=4)
        rng = np.random.default_rng(seed)
        u, r = rng.permutation(u), rng.permutation(r)
        fit, held = (u[: len(u) // 2], r[: len(r) // 2]), (u[len(u) // 2 :], r[len(r) // 2 :])
        weights = _direction(*fit)
        cut = _cut(fit[0] @ weights, fit[1] @ weights)
        missed, false = int((held[0] @ weights <= cut).sum()), int((held[1] @ weights > cut).sum())
        value = _bound(missed, len(held[0]), false, len(held[1]), delta)
        null = Null(0.0, 0.0, 0.0, "a 95 % lower bound of 0 is above 0 in at most 5 % of experiments")
        return Measurement(value, value, None, "Clopper-Pearson, one-sided", null)

    return Bound(EPSILON.of(sizes, measure), ceiling)


def _bound(missed: int, n_u: int, false: int, n_r: int, delta: float) -> float:
    fnr, fpr = proportion_interval(missed, n_u)[1], proportion_interval(false, n_r)[1]
    best = max((1 - delta - fpr) / fnr, (1 - delta - fnr) / fpr)
    return math.log(best) if best > 1 else 0.0


def _direction(u: Array, r: Array) -> Array:
    """Difference of the means over the variance within, `[n]`."""
    within = ((u - u.mean(0)) ** 2).sum(0) + ((r - r.mean(0)) ** 2).sum(0)
    scale = within / (len(u) + len(r) - 2)
    return np.asarray((u.mean(0) - r.mean(0)) / np.maximum(scale, max(1e-12, 1e-3 * float(scale.mean()))))


def _cut(u: Array, r: Array) -> float:
    """The threshold with the largest smoothed eps on these scores."""
    values = np.unique(np.concatenate([u, r]))
    cuts = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    fnr = ((u[:, None] <= cuts).sum(0) + 0.5) / (len(u) + 1)
    fpr = ((r[:, None] > cuts).sum(0) + 0.5) / (len(r) + 1)
    return float(cuts[np.argmax(np.maximum((1 - fpr) / fnr, (1 - fnr) / fpr))])
