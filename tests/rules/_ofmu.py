"""OFMU's worked examples: problem Q (quadratic) and problem L (logistic), and both ways to run a problem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tests.reference import ofmu as slow
from tests.rules._functions import Function, logistic, negated, objectives, quadratic
from unweave.rules import OFMU

FORGET_Z, RETAIN_Z = [[1.0, 2.0], [1.0, -1.0]], [[2.0, -1.0], [-0.5, -1.5], [1.0, 1.0]]
PROBLEMS: dict[str, dict[str, Any]] = {
    "Q": {
        "kind": "quadratic",
        "forget": {"M": [[2.0, 0.5], [0.5, 1.0]], "c": [1.0, 0.0]},
        "retain": {"M": [[1.0, -0.3], [-0.3, 1.5]], "c": [0.0, 1.0]},
    },
    "L": {
        "kind": "logistic",
        "forget": {"X": FORGET_Z, "y": [1, 1]},
        "retain": {"X": RETAIN_Z, "y": [1, 1, 1]},
    },
}
STARTS = {"Q": (0.2, -0.5), "L": (0.3, -0.2)}
CENTRAL = {"curvature": "exact", "one_sided": False, "strict": True}
CONFIG: dict[str, Any] = {"T": 2, "K": 2, "ein": 0.1, "eout": 0.05, "rho0": 0.05, "gam": 2.0}


def functions(problem: dict[str, Any]) -> tuple[Function, Function]:
    """Forget and retain loss; the forget loss is the one to be raised."""
    if problem["kind"] == "quadratic":
        return tuple(quadratic(problem[s]["M"], problem[s]["c"]) for s in ("forget", "retain"))  # type: ignore[return-value]
    return tuple(logistic(_z(problem[s])) for s in ("forget", "retain"))  # type: ignore[return-value]


def _z(side: dict[str, Any]) -> Any:
    return np.array(side["X"], float) * np.array(side["y"], float)[:, None]


def twin(problem: dict[str, Any], beta: float, *, squared: bool = False, delta: float = 0.0) -> slow.OFMU:
    """The same in closed form."""
    sides: list[slow.Loss] = [
        slow.Quadratic(np.array(problem[s]["M"]), np.array(problem[s]["c"]))
        if problem["kind"] == "quadratic"
        else slow.Logistic(_z(problem[s]))
        for s in ("forget", "retain")
    ]
    return slow.OFMU(*sides, beta, squared, delta)


def rule(config: dict[str, Any], **options: Any) -> OFMU:
    """The rule with a worked example's constants, without guards or cap."""
    return OFMU(
        **{
            "inner_steps": config["T"],
            "inner_lr": config["ein"],
            "penalty": config["rho0"],
            "penalty_growth": config["gam"],
            "penalty_max": math.inf,
            **CENTRAL,
            **options,
        }
    )


def run(problem: dict[str, Any], start: Sequence[float], asked: OFMU, config: dict[str, Any]) -> list[list[float]]:
    """The point after every round: ascent on the forget loss, plain steps."""
    forget, retain = functions(problem)
    model, seen = objectives(start, negated(forget), retain)
    rounds = []
    for _ in range(config["K"]):
        asked.backward(seen)
        seen.move(seen.direction(), -config["eout"])
        rounds.append(model.theta.tolist())
    return rounds


def psi(problem: dict[str, Any], start: Sequence[float], **options: Any) -> torch.Tensor:
    """`grad Phi`, read off one inner step of length 1."""
    forget, retain = functions(problem)
    model, seen = objectives(start, negated(forget), retain)
    OFMU(inner_steps=1, inner_lr=1.0, penalty=0.0, **{**CENTRAL, **options}).backward(seen)
    return model.theta.detach() - torch.tensor(start, dtype=torch.float64)


def penalty(problem: dict[str, Any], start: Sequence[float], **options: Any) -> torch.Tensor:
    """`(Hess Phi) grad Phi`, read off an outer direction with `rho = 1/2`."""
    forget, retain = functions(problem)
    _, seen = objectives(start, negated(forget), retain)
    g_r = seen.gradient(1)[1][0].clone()
    OFMU(inner_steps=0, penalty=0.5, **{**CENTRAL, **options}).backward(seen)
    return seen.direction()[0] - g_r
