"""The forget set against a holdout that no model was trained on: can one attack tell them apart?

The question of unlearning is about the forget set, so members are the forget examples, not retain ones. One signal is
an attack as it stands; several are joined by a logistic regression that is never scored on what it was fitted to. Two
sides: an AUC far below 1/2 leaks, too. The interval is over examples and speaks of this model only.

The blind baseline is an attacker that never sees the model. If it tells the forget set from the holdout, the two differ
in more than membership, and so does every attack that compares them: its AUC has no meaning by itself, only beside a
retrained model's. Das et al., "Blind baselines beat membership inference attacks", arXiv:2406.16201.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from unweave.audit.attacks.crossfit import cross_fit
from unweave.evaluation.intervals import proportion_interval
from unweave.evaluation.membership import half_threshold
from unweave.evaluation.metric import Array, Measurement, Metric, Null, Score, UndefinedScore, whole
from unweave.evaluation.ranking import FEWEST, Ranking, Z, paired_error

MODELS = ("original", "retrained", "unlearned")
HOLDOUT = "a holdout exchangeable with the forget set: see the blind baseline"
AUC = Metric(
    "forget_holdout_auc",
    "P(forget example scores above holdout example) + P(equal) / 2",
    "share",
    "as null",
    (0, 1),
    "example",
    HOLDOUT,
    "fewer than 20 examples on a side, a signal that is not finite, or all scores equal",
    "interval: DeLong et al., Biometrics 44 (1988)",
    plain="told from unseen data",
)
RATES = (0.01, 0.001)
DIFFERENCE = Metric(
    "auc_above_one_retrained",
    "AUC of the unlearned model - AUC of the retrained one, on the same examples",
    "share",
    "as null",
    (-1, 1),
    "example",
    "signals of one kind of both models on the same examples",
    "as the AUC",
    "DeLong et al., Biometrics 44 (1988)",
    plain="told better than on one retrained model",
)
BLIND = replace(
    AUC,
    name="blind_auc",
    definition="AUC of a cross-fitted logistic regression on features of the examples alone, forget against holdout",
    needs="features that no model made: pixels, word counts, lengths, dates",
    source="Das et al., arXiv:2406.16201",
    plain="told from unseen data without the model",
)


@dataclass(frozen=True)
class Tail:
    """The share of the forget set above a threshold, and the share of the holdout's other half that is, too."""

    tpr: Score
    fpr: Score


@dataclass(frozen=True)
class Attack:
    """One attack on one model."""

    auc: Score
    tails: tuple[Tail, ...]


@dataclass(frozen=True)
class Triple:
    """One attack on all three models, and how far the unlearned one is from the retrained one."""

    attacks: Mapping[str, Attack]
    above_retrained: Score


def forget_against_holdout(
    forget: ArrayLike, holdout: ArrayLike, *, fpr: Sequence[float] = RATES, folds: int = 5, seed: int = 0
) -> Attack:
    """The AUC and the true positives at low false positives, each with interval and null level.

    Args:
        forget: one signal `[n]`, higher for members, or several `[n, d]`, which a logistic regression joins.
        holdout: the same of examples that were never trained on, `[h]` or `[h, d]`.
        fpr: false-positive rates; one of a needs `10 / a` holdout examples.
        folds: of the cross-fitting; its AUC compares within folds, since scores of two fits have no common scale, and
            its tails take scores that are standardised inside their fold.
        seed: of the folds and of the halves of the holdout.
    """
    sizes = {"forget examples": _length(forget), "holdout examples": _length(holdout)}
    made: list[Ranking] = []

    def area() -> Measurement:
        made.append(ranking(forget, holdout, folds=folds, seed=seed))
        return read(made[0])

    auc = AUC.of(sizes, area)
    if not made:
        return Attack(auc, ())
    members, others = made[0].pooled
    return Attack(auc, tuple(_tail(members, others, rate, seed) for rate in fpr))


def on_triple(signals: Mapping[str, tuple[ArrayLike, ArrayLike]], *, folds: int = 5, seed: int = 0) -> Triple:
    """The same attack on the original, the retrained and the unlearned model.

    Only the difference to the retrained model is free of what tells the two sets apart without any model.

    Args:
        signals: `{"original": (forget, holdout), "retrained": ..., "unlearned": ...}`, examples in the same order.
        folds: as in `forget_against_holdout`.
        seed: as there.

    Raises:
        KeyError: a model is missing.
    """
    attacks = {name: forget_against_holdout(*signals[name], folds=folds, seed=seed) for name in MODELS}
    sizes = attacks["unlearned"].auc.sizes

    def measure() -> Measurement:
        u, r = (ranking(*signals[name], folds=folds, seed=seed) for name in ("unlearned", "retrained"))
        if (u.members, u.others) != (r.members, r.others):
            raise UndefinedScore("The two models were not asked about the same examples.")
        value, error = u.area - r.area, paired_error(u, r)
        p = math.erfc(abs(value) / error / math.sqrt(2)) if error > 0 else float(value == 0)
        null = Null(0.0, -Z * error, Z * error, "DeLong's error of the difference, centred on 0")
        return Measurement(value, max(value - Z * error, -1.0), min(value + Z * error, 1.0), "DeLong, paired", null, p)

    return Triple(attacks, DIFFERENCE.of(sizes, measure))


@dataclass(frozen=True)
class Blind:
    """The blind AUC and what it means for the others."""

    evidence: Score

    @property
    def exchangeable(self) -> bool | None:
        """No difference was found at 5 %; None where that is undefined."""
        return None if self.evidence.p is None else self.evidence.p > 0.05

    @property
    def text(self) -> str:
        """The meaning, in words."""
        if self.exchangeable is None:
            return f"Nobody knows whether forget and holdout set are exchangeable. {self.evidence.reason}"
        if self.exchangeable:
            return (
                "Without the model, forget and holdout set cannot be told apart: the attacks' AUC can be read as it is."
            )
        return (
            f"Without the model, forget and holdout set can be told apart (AUC {self.evidence.value:.2f}): they are "
            "not exchangeable. The attacks' AUC has a meaning only beside a retrained model's."
        )


def blind_baseline(forget: ArrayLike, holdout: ArrayLike, *, folds: int = 5, seed: int = 0) -> Blind:
    """How well the forget set and the holdout are told apart without the model.

    Args:
        forget: features `[n, d]` of the forget examples; images may come as they are, `[n, ...]`.
        holdout: the same of the holdout examples.
        folds: of the cross-fitting.
        seed: of the folds.
    """
    sides = [array.reshape(len(array), -1) for array in (np.asarray(x, dtype=np.float64) for x in (forget, holdout))]
    sizes = {"forget examples": len(sides[0]), "holdout examples": len(sides[1]), "features": sides[0].shape[1]}
    return Blind(BLIND.of(sizes, lambda: read(ranking(*sides, folds=folds, seed=seed))))


def ranking(forget: ArrayLike, holdout: ArrayLike, *, folds: int = 5, seed: int = 0) -> Ranking:
    """The attack's scores, cross-fitted where there are several signals.

    Raises:
        UndefinedScore: fewer than 20 on a side, or a signal that is not finite.
    """
    axes = np.ndim(forget)
    sides = [whole(x, f"{name} examples", axes=axes, at_least=FEWEST) for name, x in _named(forget, holdout)]
    if axes == 1 and min(side.min() for side in sides) == max(side.max() for side in sides):
        raise UndefinedScore("All scores are equal: the attack says nothing, and passing it would mean nothing.")
    if axes == 1:
        return Ranking([(sides[0], sides[1])])
    return cross_fit(sides[0], sides[1], folds=folds, seed=seed)


def read(found: Ranking) -> Measurement:
    """The AUC with its interval, its null and its p-value."""
    return Measurement(found.area, *found.interval, "DeLong", found.null, found.p)


def _tail(members: Array, others: Array, rate: float, seed: int) -> Tail:
    """The threshold is fixed on one half of the holdout, its false positives are counted on the other."""
    tpr, fpr = tail_metrics(rate)
    threshold, rest = half_threshold(others, rate, seed=seed)
    half = len(others) - len(rest)
    allowed = math.floor(rate * half + 1e-9)

    def above(group: Array, one_sided: bool) -> Measurement:
        from scipy.stats import betabinom

        if len(others) < math.ceil(10 / rate):
            raise UndefinedScore(f"It needs {tpr.needs}; there are {len(others)}.")
        count, n = int((group > threshold).sum()), len(group)
        exact = betabinom(n, allowed + 1, half - allowed)
        low, high = (float(exact.ppf(q)) / n for q in (0.025, 0.975))
        null = Null(float(exact.mean()) / n, low, high, "beta-binomial")
        p = min(1.0, float(exact.sf(count - 1))) if one_sided else None
        return Measurement(count / n, *proportion_interval(count, n), "Clopper-Pearson", null, p)

    sizes = {"forget examples": len(members), "holdout examples": len(others)}
    return Tail(tpr.of(sizes, partial(above, members, True)), fpr.of(sizes, partial(above, rest, False)))


def tail_metrics(rate: float) -> tuple[Metric, Metric]:
    """What the true and the false positives at a rate are."""
    name, needs = f"{100 * rate:g} %", f"at least {math.ceil(10 / rate)} holdout examples"
    about = (needs, f"not {needs}", "Carlini et al., IEEE S&P 2022")
    of = f"share of the forget set above the threshold that {name} of one half of the holdout is above"
    tpr = Metric(
        *(f"tpr_at_{rate:g}", of, "share", "as null", (0, 1), "example", *about),
        plain=f"surely told as trained on, {name} false alarms",
    )
    of = f"share of the other half of the holdout above the threshold that was meant for {name}"
    return tpr, Metric(
        *(f"fpr_at_{rate:g}", of, "share", "as null", (0, 1), "example", *about),
        plain=f"false alarms, meant to be {name}",
    )


def _named(forget: ArrayLike, holdout: ArrayLike) -> tuple[tuple[str, ArrayLike], ...]:
    return ("forget", forget), ("holdout", holdout)


def _length(x: ArrayLike) -> int:
    return int(np.shape(x)[0]) if np.ndim(x) else 0
