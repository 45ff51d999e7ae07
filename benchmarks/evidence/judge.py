"""From cells to evidence: what the library says of every method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from cells import layout, plan
from world import World

from unweave.audit.attacks import epsilon_bound, forgetting_score, klom_score, per_example, u_lira
from unweave.audit.canaries import judge
from unweave.audit.evidence_parts.over_runs import table_part, ulira_part
from unweave.audit.runs import recovered_share, retrain_gap
from unweave.evaluation import Score
from unweave.evaluation.scores import SHEET

Json = dict[str, Any]
Known = Callable[[tuple[str, int]], Mapping[str, Json]]
SCORES = ("UA", "RA", "TA", "MIA_AUC")


def judged(world: World, known: Known, methods: Sequence[str]) -> dict[str, Json]:
    """All evidence, by method."""
    pool = [known(("pool", i)) for i in range(world.size.models)]
    third = [known(("third", i)) for i in range(world.size.shadows)]
    coins = [known(("coin", i)) for i in range(world.size.draws)]
    return {name: _of(world, name, pool, third, coins) for name in methods}


def _of(world: World, name: str, pool: Sequence[Any], third: Sequence[Any], coins: Sequence[Any]) -> Json:
    own, reference = _split(pool, name)
    margins = [np.array([each["margins"] for each in side]) for side in (own, reference)]
    kept = [np.array([each["retain_margins"] for each in side]) for side in (own, reference)]
    forget, retain = per_example(*margins), per_example(*kept)
    bound = epsilon_bound(*margins)
    verdicts = [_audit(world, each[name], number) for number, each in enumerate(coins)]
    return {
        "gaps": table_part(retrain_gap([_sheet(x) for x in own], [_sheet(x) for x in reference])),
        "per_example": {
            side: {
                "overall": {key: evidence.as_dict() for key, evidence in each.overall.items()},
                "found": int(each.found.sum()),
                "n": len(each.t),
            }
            for side, each in (("forget", forget), ("retain", retain))
        },
        "klom": klom_score(*margins).as_dict(),
        "forgetting_score": forgetting_score(*margins).as_dict(),
        "epsilon": bound.evidence.as_dict() | {"ceiling": bound.ceiling},
        "u_lira": ulira_part(u_lira([each[name]["margins"] for each in third], layout(world))) if third else None,
        "audit": verdicts,
        "relearned": {source: _recovered(pool, name, source) for source in ("records", "holdout")},
        "left": _recovered(pool, name, "left"),
        "int4": _recovered(pool, name, None),
        "unchanged": float(np.mean([each[name]["unchanged"] for each in pool if "unchanged" in each[name]])),
        "cpu_seconds": float(np.mean([each[name]["cpu_seconds"] for each in pool])),
        "met": sum(each[name]["ended"] == "contract met" for each in pool),
        "ended": sorted({each[name]["ended"] for each in pool}),
    }


def _split(pool: Sequence[Any], name: str) -> tuple[list[Json], list[Json]]:
    """The models in question and the retrained ones; retraining itself is one half of these against the other."""
    reference = [each["retrained"] for each in pool]
    if name != "retrained":
        return [each[name] for each in pool], reference
    return reference[: len(reference) // 2], reference[len(reference) // 2 :]


def _sheet(found: Json) -> dict[str, Score]:
    return {q: Score(SHEET[q], {"examples": 1}, found[q]) for q in SCORES}


def _audit(world: World, found: Json, number: int) -> Json:
    made = plan(world, number)
    verdict = judge(made, dict(zip(made.canaries, found["margins"], strict=True)))
    return {
        "auc": verdict.auc.as_dict(),
        "epsilon": verdict.epsilon.value,
        "ceiling": verdict.ceiling,
        "refuted": verdict.refuted,
    }


def _recovered(pool: Sequence[Any], name: str, source: str | None) -> Json:
    """After relearning from a source, in four bits (None), or with nothing done to the model ("left").

    Retraining itself is its second half against the first.
    """

    def read(found: Json) -> float:
        if source == "left":
            return float((1 / (1 + np.exp(-np.array(found["margins"])))).mean())
        return float(found["int4"] if source is None else found["relearned"][source])

    rows = [each for each in pool if "int4" in each[name]]
    original, control = ([read(each[kind]) for each in rows] for kind in ("original", "retrained"))
    own = [read(each[name]) for each in rows]
    if name == "retrained":
        own, control = control[: len(control) // 2], control[len(control) // 2 :]
    return recovered_share(original, control, own).as_dict()
