"""What a run leaves as text: one JSON line per step, and JSON files that are complete or not there."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TextIO

from torch import Tensor

from unweave.diagnosis import cosine, kappa
from unweave.rules._base import Step
from unweave.store import atomically, strict

if TYPE_CHECKING:
    from unweave.objectives import Objectives
    from unweave.results import Record


def counted(n: int, one: str, several: str) -> str:
    """A number with its noun."""
    return f"{n} {one if n == 1 else several}"


def line(record: Record) -> dict[str, Any]:
    """One step as plain data; the order of every pair is forget, retain.

    `realised` and `predicted` are changes of the two objectives, `lr` is the length per unit of direction,
    `cosine`, `kappa` and `kappa_ratio` are those of `hardness`.
    """
    step = record.step
    hard = hardness(step)
    return {
        "step": record.number,
        "losses": _plain(step.losses),
        "weights": _plain(step.weights),
        "gramian": _plain(step.gramian),
        "cosine": hard.cosine,
        "kappa": hard.kappa,
        "kappa_ratio": hard.ratio,
        "branches": list(step.branches) if step.branches is not None else None,
        "predicted": _plain(record.predicted),
        "realised": _plain(record.realised),
        "lr": _finite(record.lr),
        "radius": _finite(record.radius),
        "accepted": record.accepted,
        "note": record.note,
    } | ({"phase": record.phase} if record.phase else {})


class Hardness(NamedTuple):
    """How hard a step was; None where it is not defined.

    Attributes:
        cosine: of the two gradients over the whole model.
        kappa: `-<g_u, g_r>`, a product of gradient norms: above 0 the objectives conflict.
        ratio: `kappa / kappa_2` at what the step improves the guaranteed side by.
    """

    cosine: float | None
    kappa: float | None
    ratio: float | None


def hardness(step: Step) -> Hardness:
    """Cosine, `kappa` and `kappa / kappa_2` of a step (HAMU, arXiv 2606.02119).

    With `c` the share of the fastest improvement of the guaranteed side (`Step.side`) that the step predicts,
    `kappa_2 = A B sqrt(1 - c^2)`: above 1 every step of this length that improves it as much raises the other loss.
    None for rules that do not look at gradients, and where a gradient is zero.
    """
    if step.gramian is None:
        return Hardness(None, None, None)
    whole = step.gramian.sum(0)
    cos, raw = float(cosine(whole)), _finite(float(kappa(whole)))
    fastest, length = float(whole[step.side, step.side].sqrt()), step.length or 0.0
    predicted = step.predicted
    if predicted is None or not length * fastest > 0 or not math.isfinite(cos):
        return Hardness(_finite(cos), raw, None)
    share = -float(predicted[step.side]) / (length * fastest)
    return Hardness(cos, raw, -cos / math.sqrt(1 - share**2) if abs(share) < 1 else None)


class StepLog:
    """A callback that appends one line a step to `steps.jsonl`, readable while the run goes on."""

    def __init__(self, path: Path | None, *, before: int = 0, sha256: str | None = None):
        """Opens `path` anew, or after its first `before` lines if a run is resumed.

        Args:
            path: of the file; None: another process writes it.
            before: steps that were made.
            sha256: of their lines, as the checkpoint has it; None: an earlier version's has none.

        Warns:
            UserWarning: it is not the record of these steps; also in `fault`, which is empty where it is.
        """
        self._file: TextIO | None = None
        self._digest, self.fault = hashlib.sha256(), ""
        if path is None:
            return
        kept = _records(path)[:before] if before else []
        self._digest.update(b"".join(kept))
        if len(kept) < before:
            self.fault = (
                f"{path} should hold {before} steps and holds {len(kept)}: the others are lost to the record, not to "
                "the model"
            )
        elif sha256 not in (None, self.sha256):
            self.fault = f"{path} was changed since the run wrote it: its first {before} steps are not to be believed"
        if self.fault:
            warnings.warn(self.fault, stacklevel=2)
        atomically(path, b"".join(kept))
        self._file = path.open("a", encoding="utf-8", newline="\n", buffering=1)

    @property
    def sha256(self) -> str:
        """Of all lines so far."""
        return self._digest.hexdigest()

    def on_step(self, record: Record, objectives: Objectives) -> None:
        """Writes one step."""
        if self._file is None:
            return
        text = json.dumps(line(record), allow_nan=False) + "\n"
        self._digest.update(text.encode())
        self._file.write(text)

    def sync(self) -> None:
        """Returns once all lines are on the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The lines of a `steps.jsonl`, up to the first that is no record: the last one may be cut short by a crash."""
    return [json.loads(text) for text in _records(path)]


def _records(path: Path) -> list[bytes]:
    """The lines of a `steps.jsonl`, each with its end, up to the first that is no record."""
    found = []
    for text in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict):
            break
        found.append(text.rstrip(b"\r\n") + b"\n")
    return found


def _plain(tensor: Tensor | None) -> Any:
    return None if tensor is None else strict(tensor.tolist())


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
