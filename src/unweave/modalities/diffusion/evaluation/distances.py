"""How far drawn images are from real ones, as features of a judge: the Fréchet distance and the kernel distance.

Of features x of drawn and y of real images, d numbers each, with means m and covariances C (over n - 1):

    Fréchet = |m_x - m_y|^2 + tr C_x + tr C_y - 2 sum_i sqrt(l_i),   l_i the eigenvalues of C_x C_y
    KID     = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_ij k(x_i, y_j),   k(x, y) = (x.y / d + 1)^3

Dowson and Landau (1982), as used by Heusel et al., NeurIPS 2017 (arXiv:1706.08500); Binkowski et al., ICLR 2018
(arXiv:1801.01401). Differs from both: the features are those of the judge, not of an Inception network, so no number
compares with published ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from unweave.evaluation.intervals import function_interval, resamples
from unweave.evaluation.metric import Array, Measurement, null_of, whole

FEWEST = 20  # images on a side
SPLITS = 20  # divisions of the real images, for the null level
BLOCKS = 20  # of a KID, at most; each holds two images of a side at least


def frechet(a: ArrayLike, b: ArrayLike) -> float:
    """The Fréchet distance of normal distributions with the samples' moments; biased upwards, more so for fewer rows.

    Args:
        a: features, `[n, d]`.
        b: features, `[m, d]`.

    Raises:
        UndefinedScore: fewer than two rows, or a feature that is not finite.
    """
    x, y = (whole(each, "features", axes=2, at_least=2) for each in (a, b))
    c_x, c_y = (np.atleast_2d(np.cov(each.T)) for each in (x, y))
    values, vectors = np.linalg.eigh(c_x)
    root = vectors * np.sqrt(values.clip(min=0))  # root root' = C_x, so root' C_y root has the eigenvalues of C_x C_y
    common = np.sqrt(np.linalg.eigvalsh(root.T @ c_y @ root).clip(min=0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c_x) + np.trace(c_y) - 2 * common)


def kid(a: ArrayLike, b: ArrayLike) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy under the cubic kernel; it may be negative.

    Args:
        a: features, `[n, d]`.
        b: features, `[m, d]`.

    Raises:
        UndefinedScore: fewer than two rows, or a feature that is not finite.
    """
    x, y = (whole(each, "features", axes=2, at_least=2) for each in (a, b))
    return float(_among(x) + _among(y) - 2 * _kernel(x, y).mean())


def frechet_score(drawn: ArrayLike, real: ArrayLike, seed: int = 0) -> Measurement:
    """The mean Fréchet distance between m drawn and m real images, m at most half of the real ones, over 20 divisions.

    The bias depends on m, so the null level, one half of the real images against the other, has the same m.

    Args:
        drawn: features of drawn images, `[n, d]`.
        real: features of real images that no model was trained on, `[r, d]`.
        seed: of the divisions.

    Raises:
        UndefinedScore: fewer than 20 drawn or 40 real images, or a feature that is not finite.
    """
    x, y = _both(drawn, real)
    size, rng = min(len(x), len(y) // 2), np.random.default_rng(seed)
    found, null = [], []
    for _ in range(SPLITS):
        rows = rng.permutation(len(y))
        here, there = y[rows[:size]], y[rows[size : 2 * size]]
        found.append(frechet(x[rng.permutation(len(x))[:size]], here))
        null.append(frechet(there, here))
    told = f"{size} real images against {size} others, {SPLITS} divisions"
    return Measurement(float(np.mean(found)), null=null_of(np.array(null), told), n=size)


def kid_score(drawn: ArrayLike, real: ArrayLike, seed: int = 0) -> Measurement:
    """The KID, its bootstrap interval over blocks, and as null level that of halves of the real images.

    Both samples are cut into the same number of blocks, each pair of blocks gives an estimate, and the spread of the
    mean of resampled estimates is laid around the value. Arguments and errors as for `frechet_score`.
    """
    x, y = _both(drawn, real)
    rng = np.random.default_rng(seed)
    blocks = min(BLOCKS, min(len(x), len(y)) // 2)
    cut = [np.array_split(each[rng.permutation(len(each))], blocks) for each in (x, y)]
    estimates = np.array([kid(here, there) for here, there in zip(*cut, strict=True)])
    means = np.concatenate([estimates[rows].mean(1) for rows in resamples(rng, blocks, blocks)])
    value, half = kid(x, y), len(y) // 2
    low, high = function_interval(means - estimates.mean() + value)
    null = _divided(y, half, rng, kid)
    told = f"{half} real images against {len(y) - half} others, {SPLITS} divisions"
    return Measurement(value, low, high, f"bootstrap over {blocks} blocks", null_of(null, told), n=min(len(x), len(y)))


def _divided(y: Array, half: int, rng: np.random.Generator, distance: Callable[[Array, Array], float]) -> Array:
    divisions = (rng.permutation(len(y)) for _ in range(SPLITS))
    return np.array([distance(y[rows[:half]], y[rows[half:]]) for rows in divisions])


def _both(drawn: ArrayLike, real: ArrayLike) -> tuple[Array, Array]:
    """Both, each feature divided by its standard deviation among the real images; one that they share is left alone."""
    x = whole(drawn, "drawn features", axes=2, at_least=FEWEST)
    y = whole(real, "real features", axes=2, at_least=2 * FEWEST)
    spread = y.std(0, ddof=1)
    return x / np.where(spread > 0, spread, 1), y / np.where(spread > 0, spread, 1)


def _kernel(x: Array, y: Array) -> Array:
    return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)


def _among(x: Array) -> float:
    """Mean of the kernel over pairs of two rows of one sample."""
    kernel = _kernel(x, x)
    return float((kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1)))
