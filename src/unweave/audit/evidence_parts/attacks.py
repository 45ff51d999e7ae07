"""`attacks` of `evidence.json`: every attack on original, retrained and unlearned models, and on one model alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unweave.audit.attacks import Attack, Blind, blind_baseline, forget_against_holdout, lira, rmia, signals
from unweave.audit.attacks.population import DIFFERENCE, ranking
from unweave.audit.experiment import KINDS, holdout_of, rows_of
from unweave.audit.runs import difference, prediction
from unweave.audit.seen import ImageSeen, Pools, Seen, Told
from unweave.errors import ConfigurationError
from unweave.evaluation.metric import Array, Measurement, Null, Score, UndefinedScore
from unweave.evaluation.outputs import Outputs
from unweave.evaluation.ranking import Ranking
from unweave.modalities.images.job import ImageJob

SURE = 1e-4
"""A model that never saw the forget set is refused in so small a share of cases."""
LUCKY = 0.01
"""More of a class nobody recognises by chance who never saw it: no training pushes an output towards it."""
POINTS = 200  # of a curve, at most
BLIND = 2000  # examples a side that the blind baseline looks at
TITLES = {
    "loss": "threshold on the loss",
    "joined": "seven signals, joined by a cross-fitted logistic regression",
    "lira": "LiRA, offline: against the other retrained models",
    "rmia": "RMIA: against the other retrained models and unseen examples",
    "zlib": "loss per byte of the answer after zlib",
    "min_k": "Min-K: the loss of the 40 % least likely tokens",
    "min_k_plus_plus": "Min-K++: the same, standardised by the model's own next-token distribution",
}
Json = dict[str, Any]
Ask = Callable[[Any, Sequence[Any], int], tuple[Array, Array]]
ABOVE = replace(
    DIFFERENCE,
    name="auc_above_retrained",
    definition="mean AUC of the unlearned models - mean AUC of the retrained ones",
    replicate="run",
    needs="two unlearned and two retrained models",
    undefined_when="fewer, or as the AUC",
    source="Welch, Biometrika 34 (1947)",
    plain="told better than on retrained models",
)


def attacks_part(
    pools: Pools, features: tuple[Array, Array], seed: int = 0, asks: Mapping[str, Ask] | None = None
) -> Json:
    """The whole part: the blind baseline, and each attack on the first model of each kind, and over all models.

    Args:
        pools: all models. Where an attack needs references, these are the retrained models but one, the attacked
            model's own number: as many for every model.
        features: what the blind baseline sees of the forget set and of the holdout, `[n, d]` each.
        seed: of the folds.
        asks: the attacks; None: `ATTACKS`.
    """
    asks = ATTACKS if asks is None else asks
    blind = blind_baseline(*features, seed=seed)
    about = {"exchangeable": blind.exchangeable, "text": blind.text, "roc": _curve(*features)}
    return {
        "blind": blind.evidence.as_dict() | about,
        "triple": {name: _triple(name, ask, pools, seed) for name, ask in asks.items()},
    }


def _triple(name: str, asked: Ask, pools: Pools, seed: int) -> Json:
    def ask(kind: str, number: int) -> tuple[Array, Array]:
        """What the attack says of the forget and the holdout examples of one model."""
        own = number % len(pools.retrained)
        references = [seen for i, seen in enumerate(pools.retrained) if i != own]
        return asked(pools.of(kind)[number], references, seed)

    try:
        first = {kind: ask(kind, 0) for kind in KINDS}
    except UndefinedScore as undefined:
        return {"title": TITLES[name], "reason": str(undefined)}
    models = {
        kind: _attack(forget_against_holdout(*both, seed=seed)) | {"roc": _curve(*both)} for kind, both in first.items()
    }
    return {"title": TITLES[name], "models": models, "above_retrained": _above(ask, pools, seed).as_dict()}


def _above(ask: Callable[[str, int], tuple[Array, Array]], pools: Pools, seed: int) -> Score:
    """The AUC of each unlearned and of each retrained model, and Welch's test of their difference.

    An interval over examples would be about two models: two retrained ones differ, too, as soon as forget and holdout
    set are different for more than their draws.
    """
    kinds = ("unlearned", "retrained")
    sizes = {f"{kind} runs": len(pools.of(kind)) for kind in kinds}

    def measure() -> Measurement:
        u, r = (np.array([ranking(*ask(k, i), seed=seed).area for i in range(len(pools.of(k)))]) for k in kinds)
        found, half = difference(u, r), prediction(r, len(u))
        low, high = found.interval()
        null = Null(0.0, -half, half, "Student's prediction interval of as many further retrained runs")
        return Measurement(found.value, max(low, -1.0), min(high, 1.0), "Welch, over runs", null, found.p)

    return ABOVE.of(sizes, measure)


def _loss(target: Seen, references: Sequence[Seen], seed: int) -> tuple[Array, Array]:
    return target.forget.margin, target.holdout.margin


def _joined(target: ImageSeen, references: Sequence[ImageSeen], seed: int) -> tuple[Array, Array]:
    return joined(target.forget), joined(target.holdout)


def _lira(target: Seen, references: Sequence[Seen], seed: int) -> tuple[Array, Array]:
    if len(references) < 2:
        raise UndefinedScore(f"It needs two retrained models besides the attacked one; there are {len(references)}.")

    def scores(own: Told, others: list[Told]) -> Array:
        shadows = np.stack([other.margin for other in others])
        return lira(own.margin, shadows, np.zeros(shadows.shape, dtype=bool), mode="offline")

    return scores(target.forget, [r.forget for r in references]), scores(
        target.holdout, [r.holdout for r in references]
    )


def _rmia(target: ImageSeen, references: Sequence[ImageSeen], seed: int) -> tuple[Array, Array]:
    """The population is the test set; where a class is removed whole, half of the holdout, which is not compared then.

    References that never saw a class know nothing of it: beside examples of other classes all ratios are alike.
    """
    if not references:
        raise UndefinedScore("It needs a retrained model besides the attacked one; there is none.")
    order = np.random.default_rng(seed).permutation(len(target.holdout))
    whole, half = len(target.splits.forgotten) > 0, len(order) // 2

    def population(seen: ImageSeen) -> Array:
        return seen.holdout.confidence[order[:half]] if whole else seen.splits.kept_test.confidence

    def compared(seen: ImageSeen) -> Array:
        return seen.holdout.confidence[order[half:]] if whole else seen.holdout.confidence

    behind = np.stack([population(r) for r in references])
    of_forget, of_holdout = (np.stack([read(r) for r in references]) for read in (_known, compared))
    unseen = population(target)
    return rmia(_known(target), of_forget, unseen, behind), rmia(compared(target), of_holdout, unseen, behind)


def _known(seen: ImageSeen) -> Array:
    return seen.forget.confidence


OF_MARGINS: dict[str, Ask] = {"loss": _loss, "lira": _lira}
"""What one number an example is enough for."""
ATTACKS: dict[str, Ask] = {"loss": _loss, "joined": _joined, "lira": _lira, "rmia": _rmia}


def one_model(request: ImageJob, outputs: Mapping[str, Outputs], seed: int = 0) -> tuple[Mapping[str, Score], Blind]:
    """What one model alone can show (rung E1): the AUC of the loss, of seven signals joined, and of a classifier that
    never sees the model; and what that means.

    Args:
        request: its forget set is attacked; its holdout is what it is compared with.
        outputs: of the attacked model on forget and test set.
        seed: of the folds.
    """
    holdout = holdout_of(request)
    unseen = outputs["test"].logits.index_select(0, rows_of(holdout, request.test))
    sides = [outputs["forget"], Outputs(unseen, holdout.labels)]
    blind = blind_baseline(*features(request, seed), seed=seed)
    found = {
        "blind, no model": blind.evidence,
        "loss": forget_against_holdout(*(side.margin for side in sides), seed=seed).auc,
        "joined": forget_against_holdout(*(joined(side) for side in sides), seed=seed).auc,
    }
    return found, blind


def features(request: ImageJob, seed: int) -> tuple[Array, Array]:
    """What the blind baseline sees of the forget set and of the holdout: pixels, and a column per label."""
    rng = np.random.default_rng(seed)
    made = []
    for data in (request.forget, holdout_of(request)):
        rows = np.sort(rng.permutation(len(data))[:BLIND])
        images, labels = data.batch(rows)
        one_hot = np.eye(request.network.classes)[labels.numpy()]
        made.append(np.concatenate([images.flatten(1).double().numpy(), one_hot], axis=1))
    return made[0], made[1]


def check_references(retrained: Sequence[Seen], files: Sequence[Path], exchangeable: bool | None) -> None:
    """Refuses references that saw the forget set: a comparison with them would call any leak exact.

    A class that is forgotten whole may not be recognised at all. Otherwise the forget set may not look more familiar
    than the holdout, which says something only where the two are exchangeable.

    Args:
        retrained: what each reference says.
        files: where it came from.
        exchangeable: whether forget set and holdout are exchangeable; None where nobody knows.

    Raises:
        ConfigurationError: with every reference that gives itself away.
    """
    faults = []
    for seen, file in zip(retrained, files, strict=True):
        if isinstance(seen, ImageSeen) and (share := _recognised(seen)) > LUCKY:
            faults.append(
                f"{file}: this reference saw the forget set: it recognises {100 * share:.0f} % of a class that is "
                "forgotten whole. Give models that were trained on the retain set alone."
            )
            continue
        auc = forget_against_holdout(seen.forget.margin, seen.holdout.margin, fpr=()).auc
        if exchangeable and auc.p is not None and auc.value is not None and auc.value > 0.5 and auc.p <= SURE:
            faults.append(
                f"{file}: this reference saw the forget set: it knows forget examples from exchangeable unseen ones "
                f"(AUC {auc.value:.3f}, p = {auc.p:.1g}). Give models that were trained on the retain set alone."
            )
    if faults:
        raise ConfigurationError(faults)


def _recognised(seen: ImageSeen) -> float:
    """The share of a class that is forgotten whole whose examples are; 0 without one."""
    gone = seen.forget.where(seen.forget.labels.unsqueeze(1).eq(seen.splits.forgotten).any(1))
    return float(gone.correct.mean()) if len(gone) else 0.0


def joined(outputs: Outputs) -> Array:
    """The seven signals of every example, `[n, 7]`."""
    return np.stack(list(signals(outputs.logits.double().numpy(), outputs.labels.numpy()).values()), axis=1)


def _attack(attack: Attack) -> Json:
    tails = [
        {"rate": float(t.tpr.metric.name.rpartition("_")[2]), "tpr": t.tpr.as_dict(), "fpr": t.fpr.as_dict()}
        for t in attack.tails
    ]
    return {"auc": attack.auc.as_dict(), "tails": tails}


def roc(found: Ranking, most: int = POINTS) -> list[tuple[float, float]]:
    """The ROC curve: points (false-positive rate, true-positive rate) from (0, 0) to (1, 1), ascending, at most `most`.

    Of a longer curve, points are taken at thresholds in geometric progression: a logarithmic axis shows all that there
    is.
    """
    members, others = found.pooled
    score, member = np.concatenate([members, others]), np.repeat([1.0, 0.0], [len(members), len(others)])
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # of each threshold's ties
    true, false = np.cumsum(member[order])[last], np.cumsum(1 - member[order])[last]
    curve = np.concatenate([[[0.0, 0.0]], np.stack([false / false[-1], true / true[-1]], axis=1)])
    if len(curve) > most:
        rows = np.geomspace(1, len(curve) - 1, most - 1).round().astype(np.int64)
        curve = curve[np.unique(np.append(rows, [0, len(curve) - 1]))]
    return [(float(x), float(y)) for x, y in curve]


def _curve(members: Array, others: Array) -> list[tuple[float, float]]:
    try:
        return roc(ranking(members, others))
    except UndefinedScore:
        return []
