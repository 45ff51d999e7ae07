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
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unweave.evaluation.intervals import function_interval, resamples
from unweave.evaluation.metric import Array, Measurement, null_of, whole
from unweave.evaluation.ranking import Z
from unweave.execution import one_thread

FEWEST = 20  # images on a side
SPLITS = 20  # divisions of the real images, for the null level
RESAMPLES = 200  # of all images, for the spread of the Fréchet distance
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


@dataclass(frozen=True, eq=False)
class Sample:
    """Features of images, `[n, d]`, and the class of each, `[n]`, which is as frequent in every part of a division."""

    features: ArrayLike
    classes: ArrayLike


def frechet_score(drawn: Sample, real: Sample, seed: int = 0) -> Measurement:
    """The mean Fréchet distance between m drawn and m real images over 20 divisions, m at most half of the real ones.

    Its null level is one half of the real images against the other. The bias depends on m and on the proportions of
    the classes, so both have the same.

    The interval is 1.96 standard deviations of the distance of all images on either side, which are drawn again with
    replacement class by class, around the value: a resample repeats images and so has a bias of its own, but no other
    spread. Near the null level it is wider than the truth, up to one and a half times where that was tried.

    Args:
        drawn: images that a model drew, with the classes they were asked for as.
        real: images that no model was trained on.
        seed: of the divisions.

    Raises:
        UndefinedScore: fewer than 20 drawn or 40 real images, or a feature that is not finite.
    """
    labels, rng = [np.asarray(of.classes) for of in (drawn, real)], np.random.default_rng(seed)
    sides = list(zip(_both(drawn, real), labels, strict=True))
    with one_thread():  # a second waits more than it works on matrices this small
        found = _measured(frechet, drawn, real, seed)
        again = [frechet(*(x[_again(of, rng)] for x, of in sides)) for _ in range(RESAMPLES)]
    half = Z * float(np.std(again, ddof=1))
    low, high = max(found.value - half, 0.0), found.value + half
    return replace(found, low=low, high=high, interval=f"bootstrap of images within classes, {RESAMPLES} resamples")


def kid_score(drawn: Sample, real: Sample, seed: int = 0) -> Measurement:
    """The mean KID over such divisions, with a bootstrap interval; arguments and errors as for `frechet_score`.

    Unbiased for images drawn independently; where each class has its fixed share, as here, a sample meets itself less
    often than another one, and value and null level both lie below 0 for the same distribution.

    For the interval both samples are cut into the same number of blocks, each pair of blocks gives an estimate, and the
    spread of the mean of resampled estimates is laid around the value.
    """
    found = _measured(kid, drawn, real, seed)
    x, y = _both(drawn, real)
    rng, blocks = np.random.default_rng(seed), min(BLOCKS, min(len(x), len(y)) // 2)
    cut = (np.array_split(each[_mixed(of.classes, rng)], blocks) for each, of in ((x, drawn), (y, real)))
    estimates = np.array([kid(here, there) for here, there in zip(*cut, strict=True)])
    means = np.concatenate([estimates[rows].mean(1) for rows in resamples(rng, blocks, blocks)])
    low, high = function_interval(means - estimates.mean() + found.value)
    return replace(found, low=low, high=high, interval=f"bootstrap over {blocks} blocks")


def _measured(distance: Callable[[Array, Array], float], drawn: Sample, real: Sample, seed: int) -> Measurement:
    x, y = _both(drawn, real)
    size, rng = min(len(x), len(y) // 2), np.random.default_rng(seed)
    found, null = [], []
    for _ in range(SPLITS):
        rows = _mixed(real.classes, rng)
        here, there = y[rows[:size]], y[rows[size : 2 * size]]
        found.append(distance(x[_mixed(drawn.classes, rng)[:size]], here))
        null.append(distance(there, here))
    told = f"{size} real images against {size} others, {SPLITS} divisions"
    return Measurement(float(np.mean(found)), null=null_of(np.array(null), told), n=size)


def _again(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows drawn with replacement, as many of each class as there are."""
    rows = np.empty(len(labels), dtype=np.int64)
    for each in np.unique(labels):
        own = np.flatnonzero(labels == each)
        rows[own] = rng.choice(own, len(own))
    return rows


def _mixed(classes: ArrayLike, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order in which any stretch has the classes in their proportions, to within one image each."""
    labels = np.asarray(classes)
    place = np.empty(len(labels))
    for each in np.unique(labels):
        rows = np.flatnonzero(labels == each)
        place[rng.permutation(rows)] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(place)


def _both(drawn: Sample, real: Sample) -> tuple[Array, Array]:
    """Both, divided by the root mean square of the standard deviations of the real images' features."""
    x = whole(drawn.features, "drawn features", axes=2, at_least=FEWEST)
    y = whole(real.features, "real features", axes=2, at_least=2 * FEWEST)
    spread = float(np.sqrt(y.var(0, ddof=1).mean()))
    return (x / spread, y / spread) if spread > 0 else (x, y)


def _kernel(x: Array, y: Array) -> Array:
    return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)


def _among(x: Array) -> float:
    """Mean of the kernel over pairs of two rows of one sample."""
    kernel = _kernel(x, x)
    return float((kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1)))
