"""What came of a run: its scores and its summary, as they are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from unweave.evaluation import Score, efficiency, gaps, score
from unweave.guards import collapsed, nothing_changed
from unweave.loop import Result
from unweave.run.checkpoint import tensors_sha256
from unweave.run.environment import environment, now, peak_memory
from unweave.run.interrupt import REASON
from unweave.run.prepare import Request
from unweave.run.session import Session

Sheet = Mapping[str, Score]


def sheet(model: nn.Module, request: Request, seed: int) -> Sheet:
    """Every score of a model, on what it should have lost, what it should have kept, and unseen examples."""
    return score(model, request.task, forget=request.forget, retain=request.retain, test=request.test, seed=seed)


def scores(sheets: Mapping[str, Sheet]) -> dict[str, Any]:
    """`scores.json`: the sheet of every model, and the gaps of all others to the retrained one."""
    reference = sheets.get("retrained")
    others = {} if reference is None else {k: gaps(v, reference) for k, v in sheets.items() if v is not reference}
    return {"models": _plain(sheets), "gaps": _plain(others)}


def _plain(sheets: Mapping[str, Sheet]) -> dict[str, dict[str, Any]]:
    return {name: {key: s.as_dict() for key, s in sheet.items()} for name, sheet in sheets.items()}


def summary(
    session: Session, request: Request, original: nn.Module, result: Result, sheets: Mapping[str, Sheet]
) -> dict[str, Any]:
    """`summary.json`."""
    before, after = (tensors_sha256(m.state_dict()) for m in (original, session.model))
    values = [{key: s.value for key, s in sheets[name].items()} for name in ("original", "unlearned")]
    same = nothing_changed(before != after, values[0] == values[1])
    found = same, collapsed(session.model, request.task, request.retain, session.recipe.run.seed)
    seconds, retrain = session.seconds + result.seconds, request.retrain_seconds(request.training.seed + 1)
    interrupted, diverged = result.reason == REASON, result.reason.startswith("diverged")
    unchanged = same and result.contract is None
    status = "interrupted" if interrupted else "diverged" if diverged else "unchanged" if unchanged else "done"
    contract = None if result.contract is None else result.contract.of(seconds)
    return {
        "status": status,
        "stop_reason": result.reason,
        "contract": [] if contract is None else contract.clauses(),
        "contract_reading": None if contract is None else contract.reading(),
        "method": session.recipe.method.name,
        "request": request.text,
        "forget": len(request.forget),
        "retain": len(request.retain),
        "steps": result.progress.made,
        "rejected": result.progress.rejected,
        "skipped": result.progress.skipped,
        "seconds": seconds,
        "retrain_seconds": retrain,
        "efficiency": efficiency(seconds, retrain or 0.0).value,
        "peak_memory_bytes": peak_memory(),
        "model_before": before,
        "model_after": after,
        "warnings": [*session.warnings, *filter(None, found)],
        "created": now(),
        "environment": environment(),
    }
