r"""U-LiRA: per example, models that unlearned it against models that never saw it (Hayes et al., arXiv:2403.01218).

Every record is in a random third of the models' training sets and stays (IN), in none of another third (OUT), and is
trained on and then unlearned in the rest (UNLEARNED). Every model goes through unlearning, so that only
the record tells the two populations apart. Fits and scores are cross-fitted over models, in folds so small that no
deal of the labels leaves a record without models to fit:

    score[s, i] = log N(phi[s, i]; UNLEARNED models of i) - log N(phi[s, i]; OUT models of i),   s not among them

The layout is the experiment's coin: dealing each record's labels UNLEARNED and OUT anew gives the exact null, however
correlated the records are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unweave.audit.attacks.likelihood import POOLED_BELOW, fit, log_normal
from unweave.evaluation.fewest import FOR_EACH_FATE
from unweave.evaluation.metric import Array, Measurement, Metric, Score, UndefinedScore, null_of, whole
from unweave.evaluation.ranking import areas

IN, OUT, UNLEARNED = 0, 1, 2
FOLDS = 5
Layout = NDArray[np.int64]
AUC = Metric(
    "ulira_auc",
    "mean over models of P(unlearned record scores above never-seen record) + P(equal) / 2",
    "share",
    "as null",
    (0, 1),
    "run",
    "16 models or more, each trained and unlearned under its own column of coins",
    "a record with fewer than three models unlearned or never trained on it, fewer than two models that unlearned some "
    "of the records and never saw others, or a margin that is not finite",
    "Hayes et al., arXiv:2403.01218",
    plain="single records told from never seen ones",
)
WORST = replace(
    AUC,
    name="ulira_worst_decile",
    definition="mean AUC over models of the tenth of the records that are told best",
    plain="the tenth of the records that are told best",
)
TAIL = replace(
    AUC,
    name="ulira_tpr_at_0.01",
    definition="share of unlearned (model, record) pairs above the threshold that 1 % of the never-seen ones are above",
    undefined_when="fewer than 1000 never-seen pairs, or as the AUC",
    plain="single records surely told, 1 % false alarms",
)


@dataclass(frozen=True)
class ULira:
    """The evidence, and for each record how well it is told, `[n]`: the AUC over models; 1/2 is an exact method."""

    auc: Score
    worst: Score
    tail: Score
    records: Array


def thirds(models: int, records: int, *, seed: int = 0) -> Layout:
    """The layout `[models, records]` of IN, OUT and UNLEARNED, a third of the models each for every record."""
    rng = np.random.default_rng(seed)
    return rng.permuted(np.repeat(np.arange(models)[:, None] % 3, records, axis=1), axis=0)


def u_lira(margins: ArrayLike, layout: ArrayLike, *, shuffles: int = 200, seed: int = 0) -> ULira:
    """U-LiRA's evidence from margins `[S, n]` of models after unlearning and their layout `[S, n]`.

    Args:
        margins: of every record under every model.
        layout: `IN`, `OUT` or `UNLEARNED`, drawn record by record before the training, as by `thirds`.
        shuffles: of the labels, for the null.
        seed: of the shuffles and of the folds.
    """
    state = np.asarray(layout, dtype=np.int64)
    sizes = {"runs": len(state), "records": state.shape[1]}
    made: list[tuple[Array, Array, Array]] = []

    def ready() -> tuple[Array, Array, Array]:
        if not made:
            phi = _checked(margins, state)
            rng = np.random.default_rng(seed)
            fold = rng.permutation(np.arange(len(phi)) % _folds(state))
            deals = _dealt(state, shuffles, rng)
            _check_models([state, *deals])
            own = _scores(phi, state, fold)
            drawn = [_statistics(_scores(phi, mixed, fold), mixed) for mixed in deals]
            made.append((own, _statistics(own, state), np.array(drawn)))
        return made[0]

    def statistic(which: int) -> Measurement:
        from scipy.special import stdtrit

        scores, own, drawn = ready()
        if which == 2 and int((state == OUT).sum()) < 1000:
            raise UndefinedScore(f"It needs at least 1000 never-seen pairs; there are {int((state == OUT).sum())}.")
        value, low, high = float(own[which]), None, None
        if which != 1:
            runs = _by_model(scores, state, which)
            half = float(stdtrit(len(runs) - 1, 0.975)) * float(runs.std(ddof=1)) / math.sqrt(len(runs))
            low, high = max(0.0, value - half), min(1.0, value + half)
        null = null_of(drawn[:, which], f"{len(drawn)} deals of each record's labels")
        far = np.abs(drawn[:, which] - null.value) >= abs(value - null.value) - 1e-12
        p = float(1 + far.sum()) / (1 + len(drawn))
        return Measurement(value, low, high, "Student's t over runs" if low is not None else "", null, p)

    auc, worst, tail = (metric.of(sizes, partial(statistic, i)) for i, metric in enumerate((AUC, WORST, TAIL)))
    records = _record_areas(made[0][0], state) if made else np.full(state.shape[1], np.nan)
    return ULira(auc, worst, tail, records)


def _scores(phi: Array, state: Layout, fold: Layout) -> Array:
    """The likelihood ratios `[S, n]`, NaN in IN cells."""
    scores = np.full(phi.shape, np.nan)
    for each in np.unique(fold):
        rest, here = fold != each, fold == each
        values, states = phi[rest][:, :, None], state[rest]
        pooled = len(phi) < POOLED_BELOW
        told, never = (fit(values, states == side, pooled) for side in (UNLEARNED, OUT))
        scores[here] = (log_normal(phi[here][:, :, None], *told) - log_normal(phi[here][:, :, None], *never))[:, :, 0]
    return np.where(state == IN, np.nan, scores)


def _statistics(scores: Array, state: Layout) -> Array:
    records = np.sort(_record_areas(scores, state))
    worst = records[-max(1, math.ceil(len(records) / 10)) :].mean()
    return np.array([_by_model(scores, state, 0).mean(), worst, _by_model(scores, state, 2).mean()])


def _by_model(scores: Array, state: Layout, which: int) -> Array:
    """AUC (0) or true positives at 1 % (2) of every model that has records of both kinds."""
    if which == 0:
        found = areas(scores, state == UNLEARNED, state == IN)
        return found[np.isfinite(found)]
    never = np.sort(scores[state == OUT])
    threshold = never[-1 - math.floor(0.01 * len(never) + 1e-9)]
    told = state == UNLEARNED
    some = told.any(axis=1)
    return np.asarray(((scores > threshold) & told).sum(axis=1)[some] / told.sum(axis=1)[some])


def _record_areas(scores: Array, state: Layout) -> Array:
    return areas(scores.T, state.T == UNLEARNED, state.T == IN)


def _dealt(state: Layout, shuffles: int, rng: np.random.Generator) -> list[Layout]:
    """Layouts whose labels OUT and UNLEARNED are dealt out anew inside each record."""
    never = (state == OUT).sum(axis=0)
    dealt = []
    for _ in range(shuffles):
        keys = np.where(state == IN, np.inf, rng.random(state.shape))
        rank = keys.argsort(axis=0).argsort(axis=0)
        dealt.append(np.where(state == IN, IN, np.where(rank < never, OUT, UNLEARNED)))
    return dealt


def _folds(state: Layout) -> int:
    """Five, or as many as it takes that every fit has a model of every record, two where each has its own spread.

    A fold takes `ceil(models / folds)` models, in some deal of the labels all of them of one side.
    """
    models, poorest = len(state), int(_sides(state).min())
    return min(models, max(FOLDS, math.ceil(models / (poorest - (1 if models < POOLED_BELOW else 2)))))


def _sides(state: Layout) -> NDArray[np.int64]:
    """How many models never saw each record, and how many unlearned it, `[2, n]`; deals of the labels keep both."""
    return np.stack([(state == side).sum(axis=0) for side in (OUT, UNLEARNED)])


def _check_models(layouts: Sequence[Layout]) -> None:
    """The AUC is a mean over models that tell records of both kinds apart, and its error needs two of them."""
    both = min(int(((x == OUT).any(axis=1) & (x == UNLEARNED).any(axis=1)).sum()) for x in layouts)
    if both < 2:
        raise UndefinedScore(
            "It needs two models that unlearned some of the records and never saw others, also when the labels of each "
            f"record are dealt anew; found {both}. Draw the layout record by record."
        )


def _checked(margins: ArrayLike, state: Layout) -> Array:
    phi = whole(margins, "runs", axes=2, at_least=2 * FOR_EACH_FATE)
    if phi.shape != state.shape or not np.isin(state, (IN, OUT, UNLEARNED)).all():
        raise UndefinedScore(f"It needs a layout of 0, 1 and 2 of shape {list(phi.shape)}; found {list(state.shape)}.")
    few = int((_sides(state).min(axis=0) < FOR_EACH_FATE).sum())
    if few:
        raise UndefinedScore(f"{few} records have fewer than {FOR_EACH_FATE} models unlearned, or never trained, on.")
    return phi
