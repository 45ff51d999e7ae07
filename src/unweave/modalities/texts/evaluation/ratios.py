"""TOFU's numbers that set answers against each other: truth ratio, forget quality, model utility.

Maini et al., TOFU, COLM 2024; the definitions are those of its code, which the published numbers come from.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from unweave.evaluation.value import Array, UndefinedScore
from unweave.modalities.texts.evaluation.tokens import Compat

_EPSILON = 1e-10  # open-unlearning adds it to denominators, which moves small probabilities


def truth_ratio(correct: ArrayLike, wrong: ArrayLike, compat: Compat = None) -> Array:
    """`R = exp(-mean_j loss(wrong_j)) / exp(-loss(correct))`, `[n]`: wrong answers against the correct one.

    The geometric mean over the wrong answers, of length-normalised probabilities. The correct answer is a paraphrase
    for the forget and retain sets (the original would be known by heart) and the original for real authors and world
    facts. 1 for a model that does not know, 0 for one that is sure of the truth.

    With "open-unlearning", the denominator is 1e-10 larger: a correct answer below that probability then has a ratio
    near 0.

    Args:
        correct: mean token loss of the correct answers, `[n]`.
        wrong: mean token losses of the wrong answers, `[n, k]`.
    """
    truth, false = np.asarray(correct, dtype=np.float64), np.asarray(wrong, dtype=np.float64).mean(axis=-1)
    if compat == "open-unlearning":
        return np.exp(-false) / (np.exp(-truth) + _EPSILON)
    return np.exp(truth - false)


def arithmetic_truth_ratio(correct: ArrayLike, wrong: ArrayLike) -> Array:
    """`mean_j exp(-loss(wrong_j)) / exp(-loss(correct))`, `[n]`: the formula of the TOFU paper, not of its code."""
    truth, false = np.asarray(correct, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    return np.exp(truth[:, None] - false).mean(axis=-1)


def indistinguishable(ratios: Array, compat: Compat = None) -> Array:
    """`min(R, 1 / R)`, `[n]`: 1 where wrong and right are equally likely. Higher is better on the forget set."""
    with np.errstate(divide="ignore"):
        return np.minimum(ratios, 1 / (ratios + (_EPSILON if compat == "open-unlearning" else 0.0)))


def true_better(ratios: Array) -> Array:
    """`max(0, 1 - R)`, `[n]`: higher is better on all other sets."""
    return np.maximum(0.0, 1 - ratios)


def true_share(ratios: Array) -> Array:
    """`1 / (1 + R) = correct / (correct + wrong)`, `[n]`: the share that goes to the truth (`prob_mean`)."""
    return 1 / (1 + ratios)


def option_probability(correct: ArrayLike, wrong: ArrayLike, compat: Compat = None) -> Array:
    """`P(correct) / (P(correct) + sum_j P(wrong_j))`, `[n]`, of length-normalised probabilities.

    With "open-unlearning", the denominator is 1e-10 larger.
    """
    p = np.asarray(correct, dtype=np.float64)
    return p / (
        p + np.asarray(wrong, dtype=np.float64).sum(axis=-1) + (_EPSILON if compat == "open-unlearning" else 0.0)
    )


def forget_quality(ratios: ArrayLike, retrained: ArrayLike) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test on the truth ratios of the forget set.

    High where the model cannot be told from one that was retrained without the set. Under an exact method it is
    uniform on [0, 1], so 0.9 is no better than 0.3, and it falls with the number of questions: compare at equal n only.
    """
    return float(_kolmogorov_smirnov(ratios, retrained).pvalue)


def ks_distance(ratios: ArrayLike, retrained: ArrayLike) -> float:
    """The statistic of that test: the largest distance of the two distribution functions, 0 to 1, lower is better."""
    return float(_kolmogorov_smirnov(ratios, retrained).statistic)


def model_utility(terms: Iterable[float]) -> float:
    """Harmonic mean of the nine terms (probability, ROUGE-L recall, truth ratio on the three kept sets).

    0 as soon as one of them is 0; read the nine, too.

    Raises:
        UndefinedScore: a term is negative or not finite.
    """
    values = np.asarray(list(terms), dtype=np.float64)
    if not len(values) or not np.isfinite(values).all() or (values < 0).any():
        raise UndefinedScore(f"A harmonic mean needs finite terms of at least 0; found {values.tolist()}.")
    return float(len(values) / np.sum(1 / values)) if (values > 0).all() else 0.0


def _kolmogorov_smirnov(ratios: ArrayLike, retrained: ArrayLike):  # type: ignore[no-untyped-def]
    from scipy.stats import ks_2samp

    a, b = np.asarray(ratios, dtype=np.float64), np.asarray(retrained, dtype=np.float64)
    for values, whose in ((a, "the model's"), (b, "the retrained model's")):
        if not len(values) or not np.isfinite(values).all():
            raise UndefinedScore(f"It needs finite truth ratios; {whose} {len(values)} are not all finite, or none.")
    return ks_2samp(a, b)
