"""Bounded influence of chosen training data on a trained PyTorch model, measured, under limits that you set."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unweave.api import unlearn
    from unweave.contract import Contract, Forget, Keep
    from unweave.data.pairs import Pair, Pairs
    from unweave.diagnosis import diagnose
    from unweave.errors import ConfigurationError, InfeasibleError, UnsupportedError, UnweaveError
    from unweave.guards import Guards, GuardWarning
    from unweave.methods import METHODS, Method
    from unweave.objectives import Objectives
    from unweave.results import Record, Result
    from unweave.tasks import Classification, Dense, Diffusion, Language, MultiLabel, Regression, Schedule, Task, Vision
    from unweave.trust import TrustRegion

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "Classification",
    "ConfigurationError",
    "Contract",
    "Dense",
    "Diffusion",
    "Forget",
    "GuardWarning",
    "Guards",
    "InfeasibleError",
    "Keep",
    "Language",
    "Method",
    "MultiLabel",
    "Objectives",
    "Pair",
    "Pairs",
    "Record",
    "Regression",
    "Result",
    "Schedule",
    "Task",
    "TrustRegion",
    "UnsupportedError",
    "UnweaveError",
    "Vision",
    "diagnose",
    "unlearn",
]

_ROOMS = {
    "METHODS": "methods",
    "Classification": "tasks",
    "ConfigurationError": "errors",
    "Contract": "contract",
    "Dense": "tasks",
    "Diffusion": "tasks",
    "Forget": "contract",
    "GuardWarning": "guards",
    "Guards": "guards",
    "InfeasibleError": "errors",
    "Keep": "contract",
    "Language": "tasks",
    "Method": "methods",
    "MultiLabel": "tasks",
    "Objectives": "objectives",
    "Pair": "data.pairs",
    "Pairs": "data.pairs",
    "Record": "results",
    "Regression": "tasks",
    "Result": "results",
    "Schedule": "tasks",
    "Task": "tasks",
    "TrustRegion": "trust",
    "UnsupportedError": "errors",
    "UnweaveError": "errors",
    "Vision": "tasks",
    "diagnose": "diagnosis",
    "unlearn": "api",
}


def __dir__() -> list[str]:
    """What completion offers: also what was not asked for yet."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for, so that the command answers at once."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'unweave' has no attribute {name!r}")
    return getattr(import_module(f"unweave.{_ROOMS[name]}"), name)
