"""Every attack on original, retrained and unlearned models: on the first of each, and over runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from unweave.audit.attacks import Attack, Blind, Triple, blind_baseline, lira, on_triple, rmia, signals
from unweave.audit.attacks.population import DIFFERENCE, ranking
from unweave.audit.attacks.roc import roc
from unweave.audit.evidence_parts.pools import KINDS, Pools, Seen
from unweave.audit.runs.welch import difference, prediction
from unweave.evaluation.evidence import Evidence, Found, Null
from unweave.evaluation.outputs import Outputs
from unweave.evaluation.value import Array, UndefinedScore

TITLES = {
    "loss": "threshold on the loss",
    "joined": "seven signals, joined by a cross-fitted logistic regression",
    "lira": "LiRA, offline: against the other retrained models",
    "rmia": "RMIA: against the other retrained models and unseen examples",
}
Sides = Mapping[str, tuple[Array, Array]]
Ask = Callable[[Seen, Sequence[Seen], int], tuple[Array, Array]]
ABOVE = replace(
    DIFFERENCE,
    name="auc_above_retrained",
    definition="mean AUC of the unlearned models - mean AUC of the retrained ones",
    replicate="run",
    needs="two unlearned and two retrained models",
    undefined_when="fewer, or as the AUC",
    source="Welch, Biometrika 34 (1947)",
)


@dataclass(frozen=True)
class Attacks:
    """What was found: the blind baseline, and each attack on the first model of each kind, and over all models.

    Args:
        blind: of the two sets, without any model.
        triples: by attack: on the first models, or the reason why it could not be made.
        above: by attack: how far its AUC is above that on retrained models, over runs.
        sides: by attack and kind: what the attack says of forget and holdout examples of the first model.
        features: what the blind baseline saw.
    """

    blind: Blind
    triples: Mapping[str, Triple | UndefinedScore]
    above: Mapping[str, Evidence]
    sides: Mapping[str, Sides]
    features: tuple[Array, Array]

    def part(self) -> dict[str, Any]:
        """`attacks` of `evidence.json`."""
        blind = self.blind.evidence.as_dict() | {
            "exchangeable": self.blind.exchangeable,
            "text": self.blind.text,
            "roc": _curve(*self.features),
        }
        return {"blind": blind, "triple": {name: self._triple(name) for name in self.triples}}

    def _triple(self, name: str) -> dict[str, Any]:
        triple = self.triples[name]
        if isinstance(triple, UndefinedScore):
            return {"title": TITLES[name], "reason": str(triple)}
        models = {kind: _attack(triple.attacks[kind]) | {"roc": _curve(*self.sides[name][kind])} for kind in KINDS}
        return {"title": TITLES[name], "models": models, "above_retrained": self.above[name].as_dict()}


def attacked(pools: Pools, features: tuple[Array, Array], seed: int = 0) -> Attacks:
    """All attacks.

    Args:
        pools: all models. Where an attack needs references, these are the retrained models but one, the attacked
            model's own number: as many for every model.
        features: what the blind baseline sees of the forget set and of the holdout, `[n, d]` each.
        seed: of the folds.
    """
    triples: dict[str, Triple | UndefinedScore] = {}
    sides: dict[str, Sides] = {}
    above: dict[str, Evidence] = {}
    for name, attack in ATTACKS.items():
        ask = partial(_asked, attack, pools, seed)
        try:
            sides[name] = {kind: ask(kind, 0) for kind in KINDS}
            triples[name] = on_triple(sides[name], seed=seed)
        except UndefinedScore as undefined:
            triples[name] = undefined
            continue
        above[name] = _above(ask, pools, seed)
    return Attacks(blind_baseline(*features, seed=seed), triples, above, sides, features)


def _asked(attack: Ask, pools: Pools, seed: int, kind: str, number: int) -> tuple[Array, Array]:
    """What an attack says of the forget and the holdout examples of one model."""
    own = number % len(pools.retrained)
    references = [seen for i, seen in enumerate(pools.retrained) if i != own]
    return attack(pools.of(kind)[number], references, seed)


def _above(ask: Callable[[str, int], tuple[Array, Array]], pools: Pools, seed: int) -> Evidence:
    """The AUC of each unlearned and of each retrained model, and Welch's test of their difference.

    An interval over examples would be about two models: two retrained ones differ, too, as soon as forget and holdout
    set are different for more than their draws.
    """
    kinds = ("unlearned", "retrained")
    sizes = {f"{kind} runs": len(pools.of(kind)) for kind in kinds}

    def measure() -> Found:
        u, r = (np.array([ranking(*ask(k, i), seed=seed).area for i in range(len(pools.of(k)))]) for k in kinds)
        found, half = difference(u, r), prediction(r, len(u))
        low, high = found.interval()
        null = Null(0.0, -half, half, "Student's prediction interval of as many further retrained runs")
        return Found(found.value, max(low, -1.0), min(high, 1.0), "Welch, over runs", null, found.p)

    return ABOVE.of(sizes, measure)


def _loss(target: Seen, references: Sequence[Seen], seed: int) -> tuple[Array, Array]:
    return target.forget.margin, target.holdout.margin


def _joined(target: Seen, references: Sequence[Seen], seed: int) -> tuple[Array, Array]:
    return joined(target.forget), joined(target.holdout)


def _lira(target: Seen, references: Sequence[Seen], seed: int) -> tuple[Array, Array]:
    if len(references) < 2:
        raise UndefinedScore(f"It needs two retrained models besides the attacked one; there are {len(references)}.")

    def scores(own: Outputs, others: list[Outputs]) -> Array:
        shadows = np.stack([other.margin for other in others])
        return lira(own.margin, shadows, np.zeros(shadows.shape, dtype=bool), mode="offline")

    return scores(target.forget, [r.forget for r in references]), scores(
        target.holdout, [r.holdout for r in references]
    )


def _rmia(target: Seen, references: Sequence[Seen], seed: int) -> tuple[Array, Array]:
    """The population is the test set; where a class is removed whole, half of the holdout, which is not compared then.

    References that never saw a class know nothing of it: beside examples of other classes all ratios are alike.
    """
    if not references:
        raise UndefinedScore("It needs a retrained model besides the attacked one; there is none.")
    order = np.random.default_rng(seed).permutation(len(target.holdout))
    whole, half = len(target.splits.forgotten) > 0, len(order) // 2

    def population(seen: Seen) -> Array:
        return seen.holdout.confidence[order[:half]] if whole else seen.splits.kept_test.confidence

    def compared(seen: Seen) -> Array:
        return seen.holdout.confidence[order[half:]] if whole else seen.holdout.confidence

    behind = np.stack([population(r) for r in references])
    of_forget, of_holdout = (np.stack([read(r) for r in references]) for read in (_known, compared))
    unseen = population(target)
    return rmia(_known(target), of_forget, unseen, behind), rmia(compared(target), of_holdout, unseen, behind)


def _known(seen: Seen) -> Array:
    return seen.forget.confidence


ATTACKS: dict[str, Ask] = {"loss": _loss, "joined": _joined, "lira": _lira, "rmia": _rmia}


def joined(outputs: Outputs) -> Array:
    """The seven signals of every example, `[n, 7]`."""
    return np.stack(list(signals(outputs.logits.double().numpy(), outputs.labels.numpy()).values()), axis=1)


def _attack(attack: Attack) -> dict[str, Any]:
    tails = [
        {"rate": float(t.tpr.metric.name.rpartition("_")[2]), "tpr": t.tpr.as_dict(), "fpr": t.fpr.as_dict()}
        for t in attack.tails
    ]
    return {"auc": attack.auc.as_dict(), "tails": tails}


def _curve(members: Array, others: Array) -> list[tuple[float, float]]:
    try:
        return roc(ranking(members, others))
    except UndefinedScore:
        return []
