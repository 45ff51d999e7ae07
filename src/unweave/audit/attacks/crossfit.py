r"""Several signals joined to one attack that is never scored on its own examples, and what it scores under the null.

The scores of a fold are the log-odds of a logistic regression after one Newton step from 0 on the other folds,

    w = (X'X + 4 I)^-1 X' y,    X standardised, y = 1 / m for members and -1 / n for others,

which is ridge regression, and Fisher's direction where the penalty is small. A full fit moves the AUC by little; this
one is linear in the labels, so a thousand shuffles of them cost one product of matrices. They are needed: two folds
were fitted to each other's examples, their AUCs go up and down together, and with 60 examples a side and six signals
that are noise, the textbook error is too small by half. Labels are shuffled inside folds, and the AUC compares inside
folds, for two fits have no common scale.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unweave.evaluation.metric import Array
from unweave.evaluation.ranking import Ranking, areas

PENALTY = 4.0  # the logistic loss has curvature 1/4 at 0: L2 penalty 1
SHUFFLES = 999


def cross_fit(members: Array, others: Array, *, folds: int = 5, seed: int = 0) -> Ranking:
    """Cross-fitted scores of members `[m, d]` and others `[n, d]`, with the AUCs of shuffled labels."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([members, others])
    x = x - x.mean(axis=0)
    spread = x.std(axis=0)
    x = np.where(spread > 1e-12, x / np.where(spread > 1e-12, spread, 1.0), 0.0)
    label = np.arange(len(x)) < len(members)
    fold = np.empty(len(x), dtype=np.int64)
    for side in (label, ~label):
        fold[side] = rng.permutation(np.arange(int(side.sum())) % folds)
    labels = _shuffled(label, fold, rng)
    scores = np.empty(labels.shape)
    for each in range(folds):
        here, rest = fold == each, fold != each
        y = np.where(labels[rest], 1 / labels[rest][:, 0].sum(), -1 / (~labels[rest][:, 0]).sum())
        scores[here] = (x[here] - x[rest].mean(axis=0)) @ _weights(x[rest], y)
    strata, drawn, pairs = [], np.zeros(labels.shape[1]), 0
    for each in range(folds):
        here = fold == each
        own, mine = scores[here], labels[here]
        strata.append((own[mine[:, 0], 0], own[~mine[:, 0], 0]))
        m, n = len(strata[-1][0]), len(strata[-1][1])
        drawn += m * n * areas(own.T, mine.T)
        pairs += m * n
    return Ranking(strata, drawn[1:] / pairs)


def _weights(x: Array, y: Array) -> Array:
    """Ridge weights `[d, shuffles]`, by whichever of the two equal forms is smaller."""
    x = x - x.mean(axis=0)
    n, d = x.shape
    if d <= n:
        return np.asarray(np.linalg.solve(x.T @ x + PENALTY * np.eye(d), x.T @ y))
    return np.asarray(x.T @ np.linalg.solve(x @ x.T + PENALTY * np.eye(n), y))


def _shuffled(label: NDArray[np.bool_], fold: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """The labels and, beside them, their shuffles inside folds, `[examples, 1 + shuffles]`."""
    labels = np.repeat(label[:, None], 1 + SHUFFLES, axis=1)
    for each in np.unique(fold):
        here = np.flatnonzero(fold == each)
        labels[here[:, None], np.arange(1, 1 + SHUFFLES)] = rng.permuted(labels[here, 1:], axis=0)
    return labels
