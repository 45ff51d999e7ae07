"""Can an attacker tell from the model's outputs what it was trained on?

The attacks are plain functions of arrays of scores, where a higher score says "member". Only the difference
to a retrained model has a meaning: where the forget and the test set differ in more than membership, an exact
method does not read 0.5 either.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from unweave.evaluation.accuracy import share
from unweave.evaluation.intervals import auc_interval
from unweave.evaluation.outputs import Splits
from unweave.evaluation.value import Array, Measurement, Score, finite, measured

FEWEST = 20  # below this an AUC that should be 0.5 reads anything from 0.3 to 0.7
ATTACKER_EXAMPLES = 2000  # of either kind: a support vector machine costs the square of its examples


def auc(members: ArrayLike, others: ArrayLike) -> float:
    """`P(member's score > other's) + P(equal) / 2`, the area under the ROC curve, by midranks.

    Raises:
        UndefinedScore: fewer than 20 on a side, or a score that is not finite.
    """
    m, o = finite(members, "forget", FEWEST), finite(others, "held-out", FEWEST)
    midranks = (np.searchsorted(o, m, "left") + np.searchsorted(o, m, "right")) / 2
    return float(midranks.mean() / len(o))


def tpr_at_fpr(members: ArrayLike, others: ArrayLike, fpr: float = 0.01) -> float:
    """Share of members above the lowest threshold that no more than a share `fpr` of the others is above.

    Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022. Its false positives were used to
    set the threshold and say nothing about other examples; `tail_on_halves` counts them on examples of their own.

    Raises:
        UndefinedScore: fewer than 20 members or `10 / fpr` others (the estimate would be several times too
            high), or a score that is not finite.
    """
    m, o = finite(members, "forget", FEWEST), finite(others, "held-out", math.ceil(10 / fpr))
    false_positives = math.floor(fpr * len(o) + 1e-9)
    return float((m > o[-1 - false_positives]).mean())


def tail_on_halves(
    members: ArrayLike, others: ArrayLike, fpr: float = 0.01, *, seed: int = 0
) -> tuple[Measurement, Measurement]:
    """True and false positives above a threshold that one half of the others sets, with Clopper-Pearson intervals.

    The false positives are those of the other half: neither count knows of the threshold that it is held against.

    Args:
        members: scores, higher for members.
        others: scores of examples that were never trained on.
        fpr: the false-positive rate that the threshold is meant for.
        seed: of the halves.

    Raises:
        UndefinedScore: as for `tpr_at_fpr`.
    """
    m, o = finite(members, "forget", FEWEST), finite(others, "held-out", math.ceil(10 / fpr))
    threshold, rest = half_threshold(o, fpr, seed=seed)
    return share(int((m > threshold).sum()), len(m)), share(int((rest > threshold).sum()), len(rest))


def half_threshold(others: Array, fpr: float, *, seed: int) -> tuple[float, Array]:
    """The lowest threshold that at most a share `fpr` of a random half of the others is above, and the other half."""
    mixed = np.random.default_rng(seed).permutation(others)
    half = len(mixed) // 2
    return float(np.sort(mixed[:half])[-1 - math.floor(fpr * half + 1e-9)]), mixed[half:]


def confidence_attack(
    forget: ArrayLike,
    members: ArrayLike,
    others: ArrayLike,
    *,
    seed: int = 0,
    compat: Literal["salun"] | None = None,
) -> float:
    """Share of the forget set called non-member by a support vector machine trained on members and others.

    RBF kernel, C = 3, gamma = 1 / features on the one feature p_y. Fan et al. (SalUn), ICLR 2024.

    Differs from the authors' code: as many members as others (2,000 of either at most), drawn at random from
    the seed; theirs takes the first retain examples of the data set, fewer where the retain set is small.

    Args:
        forget: p_y of the examples to classify.
        members: p_y of retain examples.
        others: p_y of test examples.
        seed: of the draw.
        compat: "salun" for the authors' sample: the first retain examples, as many as there are others, and all others.

    Raises:
        UndefinedScore: fewer than 20 in a set, or a score that is not finite.
    """
    from sklearn.svm import SVC

    f, m = finite(forget, "forget", FEWEST), finite(members, "retain", FEWEST)
    o = finite(others, "held-out", FEWEST)
    size, rng = min(len(m), len(o), ATTACKER_EXAMPLES), np.random.default_rng(seed)
    sample = rng.choice(m, size, replace=False), rng.choice(o, size, replace=False)
    if compat == "salun":
        sample = np.asarray(members, dtype=np.float64).ravel()[: len(o)], o
    label = np.repeat([1, 0], [len(part) for part in sample])
    attacker = SVC(C=3, gamma="auto", kernel="rbf").fit(np.concatenate(sample)[:, None], label)
    return float((attacker.predict(f[:, None]) == 0).mean())


def membership_scores(splits: Splits, *, seed: int = 0) -> list[Score]:
    """The loss-threshold attack on forget against test (AUC, tail at 1 % FPR) and SalUn's confidence attack.

    When a request removes a class whole, the loss attack compares with the test examples of that class, which
    are the exchangeable ones, and the confidence attacker learns from the other classes.
    """
    whole = len(splits.forgotten) > 0
    m = splits.forget.margin
    o = splits.forgotten_test.margin if whole else splits.test.margin
    against = "test examples of its class" if whole else "test set"
    attack = f"low loss says member, forget set against {against}"

    def area() -> Measurement:
        value = auc(m, o)
        return Measurement(value, len(m) + len(o), *auc_interval(np.sort(m), np.sort(o), seed=seed))

    def tail(side: int) -> Measurement:
        return tail_on_halves(m, o, seed=seed)[side]

    def called_non_member() -> Measurement:
        p_y = (outputs.confidence for outputs in (splits.forget, splits.retain, splits.kept_test))
        return share(round(confidence_attack(*p_y, seed=seed) * len(m)), len(m))

    true = "share of the forget set above the threshold that 1 % of one half of the unseen examples are above"
    false = "share of the other half of the unseen examples above the threshold of MIA_TPR"
    svc = "share of the forget set that an SVC on p_y, retain against test, calls non-member"
    return [
        measured("MIA_AUC", f"area under the ROC curve: {attack}", "share", area),
        measured("MIA_TPR", f"{true}: {attack}", "share", partial(tail, 0)),
        measured("MIA_FPR", f"{false}: {attack}", "share", partial(tail, 1)),
        measured("MIA_confidence", svc, "share", called_non_member),
    ]
