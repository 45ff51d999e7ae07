"""Can an attacker tell from the model's outputs what it was trained on?

The attacks are plain functions of arrays of scores, where a higher score says "member". Only the difference
to a retrained model has a meaning: where the forget and the test set differ in more than membership, an exact
method does not read 0.5 either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from unweave.evaluation.intervals import share
from unweave.evaluation.metric import Array, Measurement, finite
from unweave.evaluation.outputs import Splits
from unweave.evaluation.ranking import FEWEST, auc, auc_interval

if TYPE_CHECKING:
    from sklearn.svm import SVC

ATTACKER_EXAMPLES = 2000  # of either kind: a support vector machine costs the square of its examples


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


@dataclass(frozen=True, eq=False)
class Attacked:
    """A model under the loss-threshold attack and SalUn's confidence attack, forget set against unseen examples.

    When a request removes a class whole, the unseen examples are the test examples of that class, which are the
    exchangeable ones, and the confidence attacker learns from the other classes.

    Args:
        splits: the model's outputs.
        seed: of the bootstrap, of the halves and of the attacker's sample.
    """

    splits: Splits
    seed: int = 0

    @cached_property
    def margins(self) -> tuple[Array, Array]:
        """What the loss attack reads, of the forget set and of unseen examples: low loss says member."""
        splits = self.splits
        return splits.forget.margin, (splits.forgotten_test if len(splits.forgotten) else splits.test).margin

    @cached_property
    def ranking(self) -> tuple[Array, Array]:
        """What the confidence attack reads: `confidence_ranking`."""
        forget, retain, test = self._confidences
        unseen = self.splits.forgotten_test.confidence if len(self.splits.forgotten) else None
        return confidence_ranking(forget, retain, test, unseen, seed=self.seed)

    def loss_auc(self) -> Measurement:
        """`auc` of the loss attack."""
        return self._area(*self.margins)

    def loss_tail(self, side: int) -> Measurement:
        """`tail_on_halves` of the loss attack: true positives (0) or false ones (1)."""
        return tail_on_halves(*self.margins, seed=self.seed)[side]

    def called_non_member(self) -> Measurement:
        """`confidence_attack`, with its Clopper-Pearson interval."""
        n = len(self.splits.forget)
        return share(round(confidence_attack(*self._confidences, seed=self.seed) * n), n)

    def confidence_auc(self) -> Measurement:
        """`auc` of the confidence attack's decision value."""
        return self._area(*self.ranking)

    def confidence_tail(self) -> Measurement:
        """True positives of `tail_on_halves` of that decision value."""
        return tail_on_halves(*self.ranking, seed=self.seed)[0]

    @property
    def _confidences(self) -> tuple[Array, Array, Array]:
        splits = self.splits
        return splits.forget.confidence, splits.retain.confidence, splits.kept_test.confidence

    def _area(self, members: Array, others: Array) -> Measurement:
        value = auc(members, others)
        interval = auc_interval(np.sort(members), np.sort(others), seed=self.seed)
        return Measurement(value, *interval, n=len(members) + len(others))
