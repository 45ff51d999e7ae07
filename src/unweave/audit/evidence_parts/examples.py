"""Is each example as under retraining? The test over runs, its ECDF and the examples that are told best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unweave.audit.attacks import PerExample, per_example
from unweave.audit.evidence_parts.pools import KINDS, Pools, Seen
from unweave.evaluation.outputs import Outputs
from unweave.evaluation.value import Array, UndefinedScore

WORST, POINTS = 10, 200
Read = Callable[[Seen], Outputs]


def tested(pools: Pools, read: Read, seed: int = 0) -> PerExample | UndefinedScore:
    """The label-permutation test of the unlearned models against the retrained ones, or why there is none."""
    try:
        return per_example(pools.margins("unlearned", read), pools.margins("retrained", read), seed=seed)
    except UndefinedScore as undefined:
        return undefined


def examples_part(found: PerExample | UndefinedScore, pools: Pools, read: Read, rows: Sequence[int]) -> dict[str, Any]:
    """One side of `per_example` in `evidence.json`.

    Args:
        found: of `tested`.
        pools: all models.
        read: the examples.
        rows: the row of the training set that each of them is.
    """
    if isinstance(found, UndefinedScore):
        return {"reason": str(found)}
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
