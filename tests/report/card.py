"""A whole `evidence.json` in a second: the library's own parts, of models whose outputs are drawn, not trained."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from tests.report.test_pages import HOSTILE, run_directory
from unweave.audit import findings
from unweave.audit.attacks import IN, UNLEARNED, crossfit, thirds, u_lira
from unweave.audit.claims import claim
from unweave.audit.evidence_parts.attacks import attacks_part
from unweave.audit.evidence_parts.over_runs import examples_part, gaps_part, over_runs_part, sheets_of
from unweave.audit.evidence_parts.robustness import METRICS, precision_part, relearning_part
from unweave.audit.experiment import KINDS
from unweave.audit.robustness import Curve
from unweave.audit.runs import Margins
from unweave.audit.seen import ImageSeen, Pools
from unweave.evaluation.outputs import Outputs

RUNS, FORGET, RETAIN, UNSEEN, CLASSES = 8, 60, 80, 1000, 3
KNOWS = {"original": 2.0, "retrained": 0.0, "unlearned": 1.5}  # nats more of the forget set than of unseen examples
STEPS = (0, 1, 2, 5)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def evidence_directory(folder: Path) -> Path:
    """A run whose first unlearned model is among those of its evidence, with pictures of the worst examples."""
    found = card()
    summary = json.loads((run_directory(folder) / "summary.json").read_text())
    hashes = {"model_before": sha256("original", 0), "model_after": sha256("unlearned", 0)}
    (folder / "summary.json").write_text(json.dumps(summary | hashes))
    worst = [
        {"row": each["row"], "label": each["label"], "predicted": None, "before": 1.0, "after": -1.0, "png": PIXEL}
        for each in found["per_example"]["forget"]["worst"]
    ]
    examples = {"worst": worst, "hardest": [], "paid": [], "reached": {}, "retain_examples": RETAIN}
    (folder / "examples.json").write_text(json.dumps(examples))
    (folder / "evidence.json").write_text(json.dumps(found))
    return folder


def card() -> dict[str, Any]:
    """Every part of the file, of a method that leaves three quarters of what the original knew; one's own to change."""
    return json.loads(_card())  # type: ignore[no-any-return]


@cache
def _card() -> str:
    return json.dumps(_made())


def _made() -> dict[str, Any]:
    rng, margins = np.random.default_rng(0), Margins()
    difficulty = {"forget": rng.normal(1, 1, FORGET), "retain": rng.normal(2, 1, RETAIN)}
    difficulty |= {"test": rng.normal(1, 1, UNSEEN), "holdout": rng.normal(1, 1, UNSEEN)}
    pools = Pools(*([_seen(rng, difficulty, KNOWS[kind]) for _ in range(RUNS)] for kind in KINDS))
    sides = {"forget": lambda seen: seen.forget, "retain": lambda seen: seen.retain}
    each = {name: examples_part(pools, read, range(RETAIN)) for name, read in sides.items()}
    with patch.object(crossfit, "SHUFFLES", 199):
        attacks = attacks_part(pools, (rng.normal(size=(FORGET, 4)), rng.normal(size=(UNSEEN, 4))))
    gaps, layout = gaps_part(sheets_of(pools), margins), thirds(12, FORGET)
    leak = rng.normal(size=layout.shape) + 2.0 * (layout == IN) + 1.0 * (layout == UNLEARNED)
    over = over_runs_part(pools, sides["retain"], u_lira(leak, layout, shuffles=50))
    relearned, rounded = _relearned(rng), _rounded(rng)
    found = {
        **dict.fromkeys(("ran", "disjoint"), "supports"),
        "gaps": findings.of_gaps(gaps["unlearned"]["metrics"]),
        "per_example": findings.of_examples(each["forget"]),
        "retain_exposure": findings.of_examples(each["retain"]),
        "blind_baseline": findings.of_blind(attacks["blind"]),
        "holdout_attack": findings.of_attacks(attacks, ("loss", "joined")),
        "epsilon": findings.of_bound(over["epsilon"]),
        "per_example_attack": findings.of_ulira(over["u_lira"]),
        "robustness": findings.of_recovered([one["recovered"] for one in [*relearned, rounded[-1]]]),
    }
    seeds = {kind: list(range(RUNS)) for kind in KINDS}
    counts = {"originals": RUNS, "unlearned": RUNS, "retrained": RUNS}
    return {
        **{"schema": 1, "status": "complete", "pending": [], "created": "2025-01-01T00:00:00+00:00", "seconds": 60.0},
        "request": {
            **{"text": f"random {HOSTILE}", "data": "digits", "forget": FORGET, "retain": RETAIN, "test": UNSEEN},
            **{"holdout": UNSEEN, "classes": CLASSES, "whole_classes": []},
        },
        "own_run": None,
        "method": {"name": "hamu_q", "arguments": {}, "step": {"name": "trust"}, "steps": 5, "contract": None},
        "runs": {**dict.fromkeys(KINDS, RUNS), "seeds": seeds, "models": _models()},
        "margins": {
            **{"points": dict(margins.points), "primary": margins.primary, "digest": margins.digest},
            "settled": "2025-01-01T00:00:00+00:00",
        },
        "gaps": gaps,
        "per_example": each,
        "attacks": attacks,
        "over_runs": over,
        "robustness": {"relearning": relearned, "precision": rounded},
        "cost": {
            **{"seconds": dict.fromkeys(KINDS, 2.0), "total": 48.0, "share": 0.5, "peak_memory_bytes": 2**30},
            **{"workers": 1, "forwards": 9999},
        },
        "claim": findings.claim_part(claim(found, **counts), found),
        "notes": [f"What these models do not allow {HOSTILE}"],
        "environment": {"torch": "2.x"},
    }


def sha256(kind: str, number: int) -> str:
    """Of a model that was never there."""
    return hashlib.sha256(f"{kind} {number}".encode()).hexdigest()


def _models() -> list[dict[str, Any]]:
    return [
        {"kind": kind, "seed": i, "sha256": sha256(kind, i), "seconds": 2.0, "cached": i > 0}
        for kind in KINDS
        for i in range(RUNS)
    ]


def _seen(rng: np.random.Generator, difficulty: dict[str, np.ndarray], knows: float) -> ImageSeen:
    known = {"forget": knows, "retain": 2.0}
    return ImageSeen(**{name: _outputs(rng, margin + known.get(name, 0.0)) for name, margin in difficulty.items()})


def _outputs(rng: np.random.Generator, margin: np.ndarray) -> Outputs:
    n = len(margin)
    labels, logits = np.arange(n) % CLASSES, 0.3 * rng.normal(size=(n, CLASSES))
    logits[np.arange(n), labels] += margin + 0.3 * rng.normal(size=n)
    return Outputs(torch.tensor(logits, dtype=torch.float32), torch.tensor(labels))


def _levels(rng: np.random.Generator, kind: str) -> np.ndarray:
    """A probability of the forgotten labels, one a model."""
    return np.asarray(0.1 + 0.4 * KNOWS[kind] + 0.02 * rng.random(RUNS))


def _relearned(rng: np.random.Generator) -> list[dict[str, Any]]:
    def curves(kind: str) -> list[Curve]:
        starts = _levels(rng, kind)
        rises = [tuple(float(1 - (1 - start) * 0.8**step) for step in STEPS) for start in starts]
        return [Curve(STEPS, rise, rise) for rise in rises]

    titles = {"forget": "20 % of the forget set", "related": "retain examples", "unrelated": "noise"}
    return [relearning_part(name, title, 12, 48, {k: curves(k) for k in KINDS}) for name, title in titles.items()]


def _rounded(rng: np.random.Generator) -> list[dict[str, Any]]:
    shares = {"fp32": None, "int8": 0.5, "int4": 0.9}
    found = []
    for name, unchanged in shares.items():
        levels = {kind: [float(x) for x in _levels(rng, kind)] for kind in KINDS}
        scores: dict[str, list[dict[str, float]]] = {
            kind: [dict.fromkeys((*METRICS, "confidence"), level) for level in each] for kind, each in levels.items()
        }
        moved = {} if unchanged is None else {"unchanged": unchanged}
        scores["unlearned"] = [each | moved for each in scores["unlearned"]]
        found.append(precision_part(name, scores))
    return found
