"""Every attack on original, retrained and unlearned model, the first of each kind, beside the blind baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unweave.evaluation.attacks import Attack, Blind, Triple, blind_baseline, lira, on_triple, rmia, signals
from unweave.evaluation.attacks.population import ranking
from unweave.evaluation.attacks.roc import roc
from unweave.evaluation.card.pools import KINDS, Pools, Seen
from unweave.evaluation.outputs import Outputs
from unweave.evaluation.value import Array, UndefinedScore

TITLES = {
    "loss": "threshold on the loss",
    "joined": "seven signals, joined by a cross-fitted logistic regression",
    "lira": "LiRA, offline: against the other retrained models",
    "rmia": "RMIA: against the other retrained models and the test set",
}
Sides = Mapping[str, tuple[Array, Array]]


@dataclass(frozen=True)
class Attacks:
    """What was found: the blind baseline, and each attack's triple or the reason why it could not be made."""

    blind: Blind
    triples: Mapping[str, Triple | UndefinedScore]
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
        return {"title": TITLES[name], "models": models, "above_retrained": triple.above_retrained.as_dict()}


def attacked(pools: Pools, features: tuple[Array, Array], seed: int = 0) -> Attacks:
    """All attacks.

    Args:
        pools: all models; the first of each kind is attacked, the other retrained ones are references.
        features: what the blind baseline sees of the forget set and of the holdout, `[n, d]` each.
        seed: of the folds.
    """
    first = {kind: pools.of(kind)[0] for kind in KINDS}
    sides: dict[str, Sides] = {
        "loss": {kind: (seen.forget.margin, seen.holdout.margin) for kind, seen in first.items()},
        "joined": {kind: (joined(seen.forget), joined(seen.holdout)) for kind, seen in first.items()},
    }
    triples: dict[str, Triple | UndefinedScore] = {name: on_triple(each, seed=seed) for name, each in sides.items()}
    for name, attack in (("lira", _lira), ("rmia", _rmia)):
        try:
            sides[name] = {kind: attack(seen, pools.retrained[1:]) for kind, seen in first.items()}
            triples[name] = on_triple(sides[name], seed=seed)
        except UndefinedScore as undefined:
            triples[name] = undefined
    return Attacks(blind_baseline(*features, seed=seed), triples, sides, features)


def _lira(target: Seen, references: Any) -> tuple[Array, Array]:
    if len(references) < 2:
        raise UndefinedScore(f"It needs two retrained models besides the attacked one; there are {len(references)}.")

    def scores(own: Outputs, others: list[Outputs]) -> Array:
        shadows = np.stack([other.margin for other in others])
        return lira(own.margin, shadows, np.zeros(shadows.shape, dtype=bool), mode="offline")

    return scores(target.forget, [r.forget for r in references]), scores(
        target.holdout, [r.holdout for r in references]
    )


def _rmia(target: Seen, references: Any) -> tuple[Array, Array]:
    if not references:
        raise UndefinedScore("It needs a retrained model besides the attacked one; there is none.")
    population = target.splits.kept_test.confidence
    behind = np.stack([r.splits.kept_test.confidence for r in references])

    def scores(own: Outputs, others: list[Outputs]) -> Array:
        return rmia(own.confidence, np.stack([other.confidence for other in others]), population, behind)

    return scores(target.forget, [r.forget for r in references]), scores(
        target.holdout, [r.holdout for r in references]
    )


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
