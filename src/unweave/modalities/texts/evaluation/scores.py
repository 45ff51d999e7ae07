"""Every score of a log, and two logs side by side."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from unweave.evaluation.gap import gaps
from unweave.evaluation.value import Score
from unweave.modalities.texts.evaluation.log import Log
from unweave.modalities.texts.evaluation.metrics import DISTANCE, ROWS


def log_scores(log: Log, retrained: Log | None = None) -> dict[str, Score]:
    """The scores by name: those of the sets that the log has; what it cannot say has a reason.

    Args:
        log: of the model in question.
        retrained: of a model that was retrained without the forget set: forget quality, the KS distance and PrivLeak
            compare with it, and the reference attack if the log has no scores of its own.
    """
    return {
        row.name: row.metric.score(partial(row.value, log, retrained))
        for row in ROWS
        if any(log.has(row.group, column) for column in row.columns)
    }


def text_gaps(scores: Mapping[str, Score], retrained: Mapping[str, Score]) -> dict[str, Score]:
    """`gaps` of a text model, over those of `DISTANCE` that have a value for both; empty if none has."""
    sheets = scores, retrained
    both = [name for name in DISTANCE if all(name in sheet and sheet[name].value is not None for sheet in sheets)]
    return gaps(scores, retrained, both) if both else {}


def compared(log: Log, retrained: Log | None) -> dict[str, Any]:
    """The scores of one or two logs as plain data, for JSON.

    Returns:
        `logs` (name, compat and notes of each) and `metrics`: name -> `metric` (as `Metric.as_dict`), `model` and
        `retrained` (each as `Score.as_dict`, or None), `difference` (None where either is undefined).
    """
    own = log_scores(log, retrained)
    other = log_scores(retrained, retrained) if retrained else {}  # the other end of the scale
    rows = {}
    for row in ROWS:
        a, b = own.get(row.name), other.get(row.name)
        if a is None and b is None:
            continue
        values = [score.value for score in (a, b) if score is not None and score.value is not None]
        rows[row.name] = {
            "metric": row.metric.as_dict(),
            "model": a.as_dict() if a else None,
            "retrained": b.as_dict() if b else None,
            "difference": values[0] - values[1] if len(values) == 2 else None,
        }
    logs = [log, *([retrained] if retrained else [])]
    return {
        "logs": [{"name": x.name, "compat": x.compat, "notes": list(x.notes)} for x in logs],
        "metrics": rows,
    }
