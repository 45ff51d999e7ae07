"""95 % intervals over examples: what the sample leaves open for *this* model.

They say nothing about another training run; for that, compare with a second retrained model (`gap.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from unweave.evaluation.metric import Array, Measurement

TAILS = (0.025, 0.975)
RESAMPLES = 1000
_DRAWS_AT_A_TIME = 1 << 21  # bounds a bootstrap's memory at some 50 MB


def proportion_interval(successes: int, n: int) -> tuple[float, float]:
    """Clopper-Pearson: the p under which neither a count <= nor one >= this has probability below 2.5 %.

    It covers at least 95 %, also at 0 and at n. Clopper and Pearson, Biometrika 26 (1934).
    """
    from scipy.special import betaincinv

    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, TAILS[0]))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, TAILS[1]))
    return low, high


def share(successes: int, n: int) -> Measurement:
    """A proportion with its Clopper-Pearson interval."""
    return Measurement(successes / n, *proportion_interval(successes, n), n=n)


def mean_interval(values: Array, *, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap of the mean: its quantiles over 1000 samples drawn with replacement.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    return function_interval(resampled_means(values, seed=seed))


def resampled_means(values: Array, *, seed: int = 0) -> Array:
    """The mean of 1000 samples drawn with replacement, `[1000]`.

    Equal seeds draw the same places from values of equal length: what is told of the same examples stays together.
    """
    draws = resamples(np.random.default_rng(seed), len(values), width=len(values))
    return np.concatenate([values[drawn].mean(axis=1) for drawn in draws])


def function_interval(estimates: Array) -> tuple[float, float]:
    """Percentile interval of any function of resampled means, given its value for each resample."""
    low, high = np.quantile(estimates, TAILS)
    return float(low), float(high)


def resamples(rng: np.random.Generator, n: int, width: int) -> Iterator[NDArray[np.int64]]:
    """RESAMPLES rows of n indices, as many rows at a time as `width` numbers each leave room for."""
    rows = max(1, _DRAWS_AT_A_TIME // width)
    for start in range(0, RESAMPLES, rows):
        yield rng.integers(0, n, size=(min(rows, RESAMPLES - start), n))
