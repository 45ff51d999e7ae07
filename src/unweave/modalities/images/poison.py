"""Wrong labels, planted to be forgotten."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from unweave.errors import ConfigurationError

Labels = np.ndarray | Tensor


def poison_random(labels: Labels, share: float, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Give a share of the rows a label drawn uniformly from the wrong ones.

    Args:
        labels: [n], in [0, classes).
        share: of the rows, above 0 and below 1.
        classes: number of classes, at least two.
        seed: of the draws.

    Returns:
        The new labels [n] and the poisoned rows, sorted.

    Raises:
        ConfigurationError: the share is out of range, or there is no wrong label to give.
    """
    if not 0 < share < 1 or classes < 2:
        raise ConfigurationError(
            f"poisoning needs a share above 0 and below 1 and at least two classes, found {share} and {classes}"
        )
    poisoned = np.asarray(labels).copy()
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.choice(len(poisoned), max(1, round(share * len(poisoned))), replace=False))
    poisoned[rows] = (poisoned[rows] + generator.integers(1, classes, len(rows))) % classes
    return poisoned, rows


def poison_swap(
    labels: Labels, first: int, second: int, share: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Interclass confusion: swap the labels of a share of the rows of two classes.

    Args:
        labels: [n].
        first: one class.
        second: the other.
        share: of the rows of either class, above 0 and at most 1.
        seed: of the draws.

    Returns:
        The new labels [n] and the poisoned rows, sorted.

    Raises:
        ConfigurationError: the share is out of range, or a class is not there.

    Goel et al., "Towards Adversarial Evaluations for Inexact Machine Unlearning" (arXiv 2201.06640).
    """
    if not 0 < share <= 1 or first == second:
        raise ConfigurationError(
            f"swapping needs a share above 0, at most 1, and two classes, found {share}, {first} and {second}"
        )
    labels = np.asarray(labels)
    poisoned = labels.copy()
    generator = np.random.default_rng(seed)
    rows = []
    for own, other in ((first, second), (second, first)):
        members = np.flatnonzero(labels == own)
        if not len(members):
            raise ConfigurationError(f"class {own} is not in the training set: no labels to swap")
        chosen = generator.choice(members, round(share * len(members)), replace=False)
        poisoned[chosen] = other
        rows.append(chosen)
    return poisoned, np.sort(np.concatenate(rows))
