"""What came of a run: its scores and its summary, as they are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unweave import devices
from unweave.evaluation import efficiency
from unweave.guards import collapsed, not_finite, nothing_changed, probed
from unweave.methods import title
from unweave.modalities._base import Job, Scored, Sheet
from unweave.results import Result
from unweave.run.environment import environment, now
from unweave.run.interrupt import REASON
from unweave.run.session import Session
from unweave.store import tensors_sha256


def sheets(models: Mapping[str, Scored]) -> dict[str, Sheet]:
    """The scores of every model, those beside the retrained one included."""
    return {name: scored.beside(models.get("retrained")) for name, scored in models.items()}


def scores(job: Job, models: Mapping[str, Scored]) -> dict[str, Any]:
    """`scores.json`: the sheet of every model, and the gaps of all others to the retrained one."""
    found = sheets(models)
    reference = found.get("retrained")
    others = {} if reference is None else {k: job.gaps(v, reference) for k, v in found.items() if v is not reference}
    return {"models": plain(found), "gaps": plain(others)}


def plain(sheets: Mapping[str, Sheet]) -> dict[str, dict[str, Any]]:
    """Sheets by the names of their models, as `scores.json` has them."""
    return {name: {key: s.brief() for key, s in sheet.items()} for name, sheet in sheets.items()}


def _printed(sheet: Sheet) -> dict[str, float | None]:
    """The values of a sheet, as precise as they are printed."""
    places = {key: 1 if score.unit == "points" else 3 for key, score in sheet.items()}
    return {key: None if s.value is None else round(s.value, places[key]) for key, s in sheet.items()}


def summary(session: Session, job: Job, result: Result, models: Mapping[str, Scored]) -> dict[str, Any]:
    """`summary.json`."""
    before, after = session.original, tensors_sha256(session.model.state_dict())
    found = sheets(models)
    same = nothing_changed(before != after, _printed(found["original"]) == _printed(found["unlearned"]))
    seen = probed(session.model, job.task, job.forget, job.retain, session.recipe.run.seed)
    warned = same, collapsed(seen), *models["unlearned"].warnings
    seconds, retrain = session.seconds + result.seconds, job.reference_seconds()
    interrupted, broken, reason = result.reason == REASON, not_finite(seen), result.reason
    diverged = broken or reason.startswith("diverged")
    if broken and not interrupted and not reason.startswith("diverged"):
        reason = f"diverged: the model's loss is not finite any more; {reason}"
    unchanged = same and result.contract is None
    status = "interrupted" if interrupted else "diverged" if diverged else "unchanged" if unchanged else "done"
    contract = None if result.contract is None else result.contract.of(seconds)
    return {
        "status": status,
        "stop_reason": reason,
        "contract": [] if contract is None else contract.clauses(),
        "contract_reading": None if contract is None else contract.reading(),
        "method": title(session.recipe.method.name, session.recipe.method.arguments),
        "request": job.text,
        "forget": len(job.rows("forget")),
        "retain": len(job.rows("retain")),
        "steps": result.progress.made,
        "rejected": result.progress.rejected,
        "skipped": result.progress.skipped,
        "seconds": seconds,
        "retrain_seconds": retrain,
        "efficiency": efficiency(seconds, retrain or 0.0).value,
        "peak_memory_bytes": devices.peak(devices.CPU),
        "model_before": before,
        "model_after": after,
        "warnings": [*session.warnings, *filter(None, warned)],
        "created": now(),
        "environment": environment(),
    }
