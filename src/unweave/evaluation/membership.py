"""Can an attacker tell from the model's outputs what it was trained on?

The attacks are plain functions of arrays of scores, where a higher score says "member". Only the difference
to a retrained model has a meaning: where the forget and the test set differ in more than membership, an exact
method does not read 0.5 either.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from unweave.evaluation.accuracy import share
from unweave.evaluation.intervals import auc_interval
from unweave.evaluation.outputs import Splits
from unweave.evaluation.value import Array, Measurement, Score, finite, measured

if TYPE_CHECKING:
    from sklearn.svm import SVC

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
    f = finite(forget, "forget", FEWEST)
    return float((_attacker(members, others, seed, compat).predict(f[:, None]) == 0).mean())


def confidence_ranking(
    forget: ArrayLike, members: ArrayLike, others: ArrayLike, unseen: ArrayLike | None = None, *, seed: int = 0
) -> tuple[Array, Array]:
    """How surely SalUn's attacker calls examples members: its decision value, of the forget set and of unseen ones.

    Distance to the machine's boundary, higher for members: what `auc` and `tail_on_halves` read. It is no monotone
    function of p_y (an RBF machine falls off beyond its examples), so it is another ranking than the loss threshold's.

    Args:
        forget, members, others: as for `confidence_attack`.
        unseen: p_y of unseen examples that are exchangeable with the forget set and not among the others; None: a
            random half of the others, on which the attacker is then not trained.
        seed: of the draws.

    Raises:
        UndefinedScore: fewer than 20 in a set (of the others 40, where they are halved), or a score that is not finite.
    """
    f = finite(forget, "forget", FEWEST)
    if unseen is None:
        mixed = np.random.default_rng([seed, 1]).permutation(finite(others, "held-out", 2 * FEWEST))
        others, unseen = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
    attacker = _attacker(members, others, seed)
    u = finite(unseen, "held-out", FEWEST)
    return attacker.decision_function(f[:, None]), attacker.decision_function(u[:, None])


def _attacker(members: ArrayLike, others: ArrayLike, seed: int, compat: Literal["salun"] | None = None) -> SVC:
    """The machine, whose class 1 is members."""
    from sklearn.svm import SVC

    m, o = finite(members, "retain", FEWEST), finite(others, "held-out", FEWEST)
    size, rng = min(len(m), len(o), ATTACKER_EXAMPLES), np.random.default_rng(seed)
    sample = rng.choice(m, size, replace=False), rng.choice(o, size, replace=False)
    if compat == "salun":
        sample = np.asarray(members, dtype=np.float64).ravel()[: len(o)], o
    label = np.repeat([1, 0], [len(part) for part in sample])
    return SVC(C=3, gamma="auto", kernel="rbf").fit(np.concatenate(sample)[:, None], label)


def membership_scores(splits: Splits, *, seed: int = 0) -> list[Score]:
    """The loss-threshold attack on forget against test (AUC, tail at 1 % FPR) and SalUn's confidence attack, as
    the share that it calls non-member, and as AUC and tail of its decision value.

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

    @cache
    def ranking() -> tuple[Array, Array]:
        forget, retain, test = (each.confidence for each in (splits.forget, splits.retain, splits.kept_test))
        unseen = splits.forgotten_test.confidence if whole else None
        return confidence_ranking(forget, retain, test, unseen, seed=seed)

    def ranked_area() -> Measurement:
        f, u = (np.sort(values) for values in ranking())
        return Measurement(auc(f, u), len(f) + len(u), *auc_interval(f, u, seed=seed))

    def ranked_tail() -> Measurement:
        return tail_on_halves(*ranking(), seed=seed)[0]

    true = "share of the forget set above the threshold that 1 % of one half of the unseen examples are above"
    false = "share of the other half of the unseen examples above the threshold of MIA_TPR"
    ranks = f"decision value of that SVC, forget set against {against}, which it was not trained on"
    svc = "share of the forget set that an SVC on p_y, retain against test, calls non-member"
    return [
        measured("MIA_AUC", f"area under the ROC curve: {attack}", "share", area),
        measured("MIA_TPR", f"{true}: {attack}", "share", partial(tail, 0)),
        measured("MIA_FPR", f"{false}: {attack}", "share", partial(tail, 1)),
        measured("MIA_confidence", svc, "share", called_non_member),
        measured("MIA_confidence_AUC", f"area under the ROC curve: {ranks}", "share", ranked_area),
        measured("MIA_confidence_TPR", f"{true}: {ranks}", "share", ranked_tail),
    ]
