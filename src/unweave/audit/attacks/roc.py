"""The ROC curve of an attack, dense where false positives are few."""

from __future__ import annotations

import numpy as np

from unweave.audit.attacks.ranking import Ranking

POINTS = 200


def roc(found: Ranking, most: int = POINTS) -> list[tuple[float, float]]:
    """Points (false-positive rate, true-positive rate) from (0, 0) to (1, 1), ascending, at most `most`.

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
