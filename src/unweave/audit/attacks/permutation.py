r"""Is each example as under retraining? The label-permutation test over runs, with Benjamini-Hochberg.

    T_i = (mean_s Phi_u[s, i] - mean_t Phi_r[t, i]) / s_i,    s_i^2 the pooled variance within the two groups

of N unlearned and M retrained models. The p-values come from exchanging whole models: examples inside a model are
correlated, so nothing else may be exchanged. Three global statistics: the mean of T^2, the 95 % quantile of |T|, and
the mean |T| of the worst decile of examples. All arrangements are counted if there are no more than `permutations`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unweave.audit.attacks.pools import FEWEST, centred, exchanged_level, is_dealt, pools
from unweave.evaluation.metric import Array, Metric, Right, Score

STATISTICS = {
    "mean_t2": "mean over examples of T^2, T the difference of the means over runs in pooled standard deviations",
    "q95_t": "95 % quantile over examples of |T|",
    "worst_decile": "mean |T| of the tenth of the examples with the largest |T|",
}
_AT_A_TIME, _SHOWN = 1 << 22, 200


@dataclass(frozen=True)
class PerExample:
    """What the permutations say, overall and of each example.

    Args:
        overall: evidence of the three global statistics, by name.
        t: T of each example, `[n]`: positive where the unlearned models score above the retrained ones.
        p: its two-sided p-value, `[n]`.
        found: the examples that Benjamini-Hochberg calls different at a false-discovery rate of 5 %, `[n]`.
        smallest_p: the smallest p-value that these sizes can give.
        exchanged: T where whole models are exchanged, ascending, the mean over up to 200 arrangements, `[n]`: what the
            sorted `t` look like under an exact method. As in `pools.null_level`, each pool is centred before.
    """

    overall: Mapping[str, Score]
    t: Array
    p: Array
    found: NDArray[np.bool_]
    smallest_p: float
    exchanged: Array


def per_example(
    unlearned: ArrayLike, retrained: ArrayLike, *, permutations: int = 2000, rate: float = 0.05, seed: int = 0
) -> PerExample:
    """The label-permutation test of margins `[N, n]` of unlearned and `[M, n]` of retrained models.

    Give it the retain examples, too: forgetting some may expose others.

    Args:
        unlearned: a row per unlearned model, each from another original.
        retrained: a row per retrained model.
        permutations: arrangements that are drawn where there are more in all.
        rate: false-discovery rate.
        seed: of the draws.

    Raises:
        UndefinedScore: fewer than two models on a side, other examples on the two sides, or a value that is not finite.
    """
    u, r = pools(unlearned, retrained)
    pooled = _scaled(np.concatenate([u, r]))
    groups, exhaustive = _arrangements(len(u), len(pooled), permutations, seed)
    truth = np.zeros((1, len(pooled)))
    truth[0, : len(u)] = 1
    t = _t(truth, pooled)[0]
    count, drawn = np.zeros(u.shape[1]), []
    rows = max(1, _AT_A_TIME // u.shape[1])
    for start in range(0, len(groups), rows):
        others = np.abs(_t(groups[start : start + rows], pooled))
        count += (others >= np.abs(t) * (1 - 1e-9)).sum(axis=0)
        drawn.append(_statistics(others))
    arranged = np.concatenate(drawn)
    own = _statistics(np.abs(t)[None])[0]
    extra = 0 if exhaustive else 1  # the arrangement that was seen is one of all; of drawn ones it is one more
    arrangements = len(groups) + extra
    p = (count + extra) / arrangements
    sizes = {"unlearned runs": len(u), "retrained runs": len(r), "examples": u.shape[1]}
    enough = min(len(u), len(r)) >= FEWEST
    exchanges = [row for row in groups if not (enough and is_dealt(np.flatnonzero(row), len(u), len(row)))]
    some = np.stack([exchanges[i] for i in np.random.default_rng(seed).permutation(len(exchanges))[:_SHOWN]])
    of_one = _t(some, _scaled(np.concatenate([centred(u), centred(r)])) if enough else pooled)
    exact, exchanged = _statistics(np.abs(of_one)), np.sort(of_one, axis=1).mean(axis=0)
    overall = {}
    for i, name in enumerate(STATISTICS):
        right = float(((arranged[:, i] >= own[i] * (1 - 1e-9)).sum() + extra) / arrangements)
        level = exchanged_level(exact[:, i], enough)
        overall[name] = Score(OVERALL[name], sizes, float(own[i]), null=level, p=right)
    ties = 2 if len(u) == len(r) and exhaustive else 1  # equal groups may be swapped without changing |T|
    return PerExample(overall, t, p, benjamini_hochberg(p, rate), ties / arrangements, exchanged)


def benjamini_hochberg(p: ArrayLike, rate: float = 0.05) -> NDArray[np.bool_]:
    """The hypotheses that are rejected at a false-discovery rate: all up to the last `p_(i) <= i rate / n`.

    Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995).
    """
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p, method="bh") <= rate)


def _arrangements(k: int, models: int, permutations: int, seed: int) -> tuple[Array, bool]:
    """Rows of 0 and 1 that say who counts as unlearned; and whether they are all that there are."""
    if math.comb(models, k) <= permutations:
        groups = np.zeros((math.comb(models, k), models))
        for row, chosen in zip(groups, itertools.combinations(range(models), k), strict=True):
            row[list(chosen)] = 1
        return groups, True
    keys = np.random.default_rng(seed).random((permutations, models))
    return (keys.argsort(axis=1) < k).astype(np.float64), False


def _scaled(rows: Array) -> Array:
    """Columns with mean 0 and squares that sum to 1; with a spread that is only rounding, 0."""
    left = rows - rows.mean(axis=0)
    total = (left**2).sum(axis=0)
    flat = total <= 1e-20 * np.maximum(1.0, np.abs(rows).max(axis=0) ** 2)
    return np.where(flat, 0.0, left / np.sqrt(np.where(flat, 1.0, total)))


def _t(groups: Array, pooled: Array) -> Array:
    """T of every arrangement and example; the columns of `pooled` have mean 0 and squares that sum to 1."""
    k, models = int(groups[0].sum()), len(pooled)
    m = models - k
    difference = (groups @ pooled) * (1 / k + 1 / m)  # mean of the ones - mean of the others, as the sum is 0
    within = np.maximum(1 - difference**2 * (k * m / models), 1e-12) * (pooled != 0).any(axis=0)
    return difference / np.sqrt(np.where(within > 0, within / (models - 2), 1.0))


def _statistics(t: Array) -> Array:
    """The three global statistics of rows of |T|, `[rows, 3]`."""
    worst = max(1, math.ceil(t.shape[1] / 10))
    tail = np.partition(t, t.shape[1] - worst, axis=1)[:, -worst:]
    return np.stack([(t**2).mean(axis=1), np.quantile(t, 0.95, axis=1), tail.mean(axis=1)], axis=1)


def _metric(
    name: str, plain: str, definition: str, unit: str, right: Right, limits: tuple[float, float], exact: str = ""
) -> Metric:
    needs = "8 unlearned and 8 retrained models, better 16; 4 of each decide hardly anything"
    undefined = "fewer than two models on a side, or a margin that is not finite"
    return Metric(name, definition, unit, right, limits, "run", needs, undefined, _SOURCE, exact, plain)


_SOURCE = "exchange of whole models; Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995)"
_DEVIATIONS = "standard deviations"
_PLAIN = {
    "mean_t2": "how far examples are from retraining, squared",
    "q95_t": "how far the twentieth is from retraining that is farthest",
    "worst_decile": "how far the worst tenth is from retraining",
}
OVERALL = {
    name: _metric(name, _PLAIN[name], of, _DEVIATIONS, "as null", (0, math.inf)) for name, of in STATISTICS.items()
}
EACH = (
    _metric(
        "example_margin",
        "how sure the models are of one example",
        "log p_y - log(1 - p_y) of one example, mean over the models of a kind",
        *("nats", "as null", (-math.inf, math.inf), "the retrained models' mean, beside it"),
    ),
    _metric(
        "example_t",
        "how far one example is from retraining",
        "T of one example: difference of its mean margins, unlearned - retrained, in pooled standard deviations",
        *(_DEVIATIONS, "as null", (-math.inf, math.inf), "0, within the curve of exchanged models"),
    ),
    _metric(
        "example_p",
        "chance of so much of one example",
        "share of the arrangements of whole models in which |T| of the example is as large",
        *("p-value", "as null", (0, 1), "uniform on [0, 1], and not below smallest_p"),
    ),
    _metric(
        "examples_found",
        "examples told from retraining",
        "examples that Benjamini-Hochberg calls different from retraining at a false-discovery rate of 5 %",
        *("examples", "lower", (0, math.inf), "0 in 95 % of cases"),
    ),
    _metric(
        "smallest_p",
        "the least chance that so many models can give",
        "the smallest p-value that so many models can give",
        *("p-value", "lower", (0, 1), "says nothing of the method: above 0.05 no example can be found"),
    ),
)
"""What is said of every example, and of how many differ."""
