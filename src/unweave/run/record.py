"""What a run leaves behind as text: one JSON line per step, and whole JSON files that appear complete or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor

from unweave.data.cache import atomically

if TYPE_CHECKING:
    from unweave.loop import Record
    from unweave.objectives import Objectives


def line(record: Record) -> dict[str, Any]:
    """One step as plain data; the order of every pair is forget, retain.

    `realised` and `predicted` are changes of the two objectives; `lr` is the length of the step per unit of direction.
    `cosine` is that of the two gradients over the whole model, None where the rule does not look at gradients.
    """
    step = record.step
    predicted = step.predicted
    return {
        "step": record.number,
        "losses": _plain(step.losses),
        "weights": _plain(step.weights),
        "gramian": _plain(step.gramian),
        "cosine": cosine(step.gramian),
        "branches": list(step.branches) if step.branches is not None else None,
        "predicted": _plain(None if predicted is None else predicted * record.lr),
        "realised": _plain(record.realised),
        "lr": _finite(record.lr),
        "radius": _finite(record.radius),
        "accepted": record.accepted,
        "note": record.note,
    }


def cosine(gramian: Tensor | None) -> float | None:
    """`<g_f, g_r> / (|g_f| |g_r|)` of the whole model; None without a Gramian or with a zero gradient."""
    if gramian is None:
        return None
    (ff, fr), (_, rr) = gramian.sum(0).tolist()
    return _finite(fr / math.sqrt(ff * rr)) if ff > 0 and rr > 0 else None


class StepLog:
    """A monitor that appends one line a step to `steps.jsonl`, readable while the run goes on."""

    def __init__(self, path: Path, *, progress: Callable[[Record], None] | None = None, keep: int = 0):
        """Opens `path`, keeping its first `keep` lines (a resumed run), and calls `progress` after every step."""
        kept = path.read_text().splitlines(keepends=True)[:keep] if keep else []
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._file.writelines(kept)
        self._progress = progress

    def __call__(self, record: Record, objectives: Objectives) -> None:
        """Writes one step."""
        self._file.write(json.dumps(line(record), allow_nan=False) + "\n")
        if self._progress:
            self._progress(record)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The lines of a `steps.jsonl`; a last line cut short by a crash is left out."""
    rows = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return rows


def write_json(path: Path, content: Any) -> None:
    """Writes plain data, all or nothing; non-finite numbers become null, so that any JSON reader accepts the file."""
    text = json.dumps(_strict(content), indent=2, allow_nan=False, ensure_ascii=False)
    atomically(path, f"{text}\n".encode())


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    return _finite(value) if isinstance(value, float) else value


def _plain(tensor: Tensor | None) -> Any:
    return None if tensor is None else _strict(tensor.tolist())


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
