"""`gaps`, `per_example` and `over_runs` of `evidence.json`: what models say together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from unweave.audit.attacks import epsilon_bound, forgetting_score, klom_score, per_example
from unweave.audit.attacks.ulira import ULira
from unweave.audit.experiment import KINDS
from unweave.audit.runs import TOW_METRICS, GapTable, Margins, retrain_gap
from unweave.audit.seen import Pools, Seen, Told
from unweave.evaluation.fewest import FEWEST_FOR_NULL
from unweave.evaluation.gap import GAP_METRICS
from unweave.evaluation.metric import Array, Score, UndefinedScore

WORST, POINTS = 10, 200
NO_SHADOWS = "not asked for: it trains and unlearns 16 models or more under coins of their own; `evidence.shadows`"
Sheets = Mapping[str, Sequence[Mapping[str, Score]]]
Read = Callable[[Seen], Told]
Json = dict[str, Any]


def sheets_of(pools: Pools, seed: int = 0) -> Sheets:
    """The sheet of every model, by kind."""
    return {kind: [seen.sheet(seed) for seen in pools.of(kind)] for kind in KINDS}


def gaps_part(
    sheets: Sheets,
    margins: Margins,
    seed: int = 0,
    metrics: Sequence[str] = GAP_METRICS,
    tow: Sequence[str] = TOW_METRICS,
) -> Json:
    """`gaps`: of the unlearned and the original models to the retrained ones, and the null row.

    The null row is one half of the retrained models against the other: what an exact method shows at half the size.
    """
    reference = sheets["retrained"]
    half = len(reference) // 2
    rows = {kind: (sheets[kind], reference) for kind in ("unlearned", "original")}
    if len(reference) >= FEWEST_FOR_NULL:
        rows["null"] = reference[:half], reference[half:]
    tables = {
        name: table_part(retrain_gap(*both, margins=margins, metrics=metrics, tow=tow, seed=seed))
        for name, both in rows.items()
    }
    values = {q: {kind: [_points(sheet[q]) for sheet in sheets[kind]] for kind in KINDS} for q in metrics}
    return {"null": None, **tables, "values": values}


def table_part(table: GapTable) -> Json:
    """A table of gaps, ready for JSON."""
    metrics = {q: gap.as_dict() | {"equivalent": gap.verdict == "equivalent"} for q, gap in table.gaps.items()}
    return {"metrics": metrics, "average_gap": table.average.as_dict(), "ToW": table.tow.as_dict()}


def _points(score: Score) -> float | None:
    return None if score.value is None else 100 * score.value


def examples_part(pools: Pools, read: Read, rows: Sequence[int], seed: int = 0) -> Json:
    """One side of `per_example`: is each example as under retraining, and which are told best?

    Args:
        pools: all models.
        read: the examples.
        rows: the row of the training set that each of them is.
        seed: of the arrangements.
    """
    try:
        found = per_example(pools.margins("unlearned", read), pools.margins("retrained", read), seed=seed)
    except UndefinedScore as undefined:
        return {"reason": str(undefined)}
    means = {kind: pools.margins(kind, read).mean(axis=0) for kind in KINDS}
    labels = read(pools.unlearned[0]).labels
    order = np.lexsort((-np.abs(found.t), found.p))[:WORST]
    worst = [
        {
            "row": int(rows[i]),
            "label": int(labels[i]),
            "t": float(found.t[i]),
            "p": float(found.p[i]),
            "found": bool(found.found[i]),
            "margins": {kind: float(mean[i]) for kind, mean in means.items()},
        }
        for i in order
    ]
    return {
        "n": len(found.t),
        "overall": {name: evidence.as_dict() for name, evidence in found.overall.items()},
        "found": int(found.found.sum()),
        "smallest_p": found.smallest_p,
        "ecdf": {"t": thinned(found.t), "null": thinned(found.exchanged)},
        "worst": worst,
    }


def thinned(values: Array) -> list[float]:
    """The values in ascending order, or their quantiles where there are more than `POINTS`."""
    if len(values) <= POINTS:
        return [float(x) for x in np.sort(values)]
    return [float(x) for x in np.quantile(values, np.linspace(0, 1, POINTS))]


def over_runs_part(pools: Pools, retain: Read, u_lira: ULira | None, seed: int = 0) -> Json:
    """`over_runs`: KLoM, the forgetting score, the bound of epsilon, U-LiRA; `retain` takes the retain examples."""
    sides = {"forget": lambda seen: seen.forget, "retain": retain}
    both = {name: [pools.margins(kind, read) for kind in ("unlearned", "retrained")] for name, read in sides.items()}
    bound = epsilon_bound(*both["forget"], seed=seed)
    return {
        "klom": {name: klom_score(*margins, seed=seed).as_dict() for name, margins in both.items()},
        "forgetting_score": forgetting_score(*both["forget"], seed=seed).as_dict(),
        "epsilon": bound.evidence.as_dict() | {"ceiling": bound.ceiling},
        "u_lira": {"reason": NO_SHADOWS} if u_lira is None else ulira_part(u_lira),
    }


def ulira_part(found: ULira) -> Json:
    """U-LiRA, ready for JSON."""
    numbers = {name: getattr(found, name).as_dict() for name in ("auc", "worst", "tail")}
    return numbers | {"records": [float(x) for x in np.sort(found.records) if np.isfinite(x)]}
