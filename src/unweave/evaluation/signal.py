r"""What an attacker reads from one example's logits; higher says "member" in every one of them.

All come from log p in float64, never through a rounded probability: `log(1 - p_j) = logsumexp_{k != j} log p_k`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unweave.evaluation.metric import Array

SIGNALS = ("margin", "loss", "confidence", "entropy", "modified_entropy", "correctness", "gap_of_two")


def signals(logits: ArrayLike, labels: ArrayLike) -> dict[str, Array]:
    """Seven signals `[n]` of logits `[n, c]` and labels `[n]`.

    * `margin`: log p_y - log(1 - p_y). * `loss`: log p_y. * `confidence`: p_y.
    * `entropy`: sum_j p_j log p_j. * `modified_entropy`: see `modified_entropy`, with its sign turned.
    * `correctness`: 1 where the largest logit is the label's. * `gap_of_two`: largest minus second largest log p.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    p, other = _logs(z)
    row = np.arange(len(y))
    ordered = np.sort(p, axis=1)
    return {
        "margin": p[row, y] - other[row, y],
        "loss": p[row, y],
        "confidence": np.exp(p[row, y]),
        "entropy": _times(p, p).sum(axis=1),
        "modified_entropy": -modified_entropy(z, y),
        "correctness": (p.argmax(axis=1) == y).astype(np.float64),
        "gap_of_two": ordered[:, -1] - ordered[:, -2],
    }


def modified_entropy(logits: ArrayLike, labels: ArrayLike, *, compat: Literal["salun"] | None = None) -> Array:
    """`-(1 - p_y) log p_y - sum_{j != y} p_j log(1 - p_j)`, `[n]`; 0 for a prediction that is sure and right.

    Song and Mittal, USENIX Security 2021.

    Args:
        logits: `[n, c]`.
        labels: `[n]`.
        compat: "salun" for the released code of SalUn, Unlearn-Sparse and others: it writes the labels' columns of
            the *whole batch* into every row, and takes log p for log(1 - p). Its value depends on the batch and runs
            against the definition. Only to reproduce published numbers.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    p, other = _logs(z)
    row = np.arange(len(y))
    if compat == "salun":
        share, minus = np.exp(p), -np.maximum(p, np.log(1e-30))
        reverse = 1 - share
        log_reverse = -np.log(np.maximum(share, 1e-30))
        modified, log_modified = share.copy(), log_reverse.copy()
        modified[:, y], log_modified[:, y] = reverse[:, y], minus[:, y]
        return np.asarray((modified * log_modified).sum(axis=1))
    wrong = -_times(p, other)
    wrong[row, y] = -_times(other, p)[row, y]
    return np.asarray(wrong.sum(axis=1))


def _logs(z: Array) -> tuple[Array, Array]:
    """log p and log(1 - p) of every class, `[n, c]`."""
    from scipy.special import logsumexp

    p = z - logsumexp(z, axis=1, keepdims=True)
    hidden = np.where(np.eye(z.shape[1], dtype=bool), -np.inf, p[:, None, :])
    return p, np.asarray(logsumexp(hidden, axis=2))


def _times(log_weight: Array, log_value: Array) -> NDArray[np.float64]:
    """`exp(log_weight) log_value` with 0 where the weight is."""
    weight = np.exp(log_weight)
    return np.where(weight > 0, weight * np.where(weight > 0, log_value, 0.0), 0.0)
