"""The catalogue: a row per paper joins a forget loss, a retain loss and a rule.

A row is called with the task, the original model, and hyperparameters other than our defaults. What looks at the
original model keeps what stands for it: a frozen copy, as a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from unweave.errors import ConfigurationError
from unweave.gramian import local
from unweave.losses import remember
from unweave.losses._base import denoises
from unweave.losses.original import Answers
from unweave.methods._base import Method
from unweave.methods.rows import ROWS
from unweave.tasks import Task

__all__ = ["METHODS", "OVER", "PAPERS", "REMEMBERING", "RETAIN_ONLY", "Method", "divided", "made", "title", "usual"]

METHODS: dict[str, Callable[..., Method]] = {row.name: row.function() for row in ROWS}
PAPERS = {row.name: row.paper for row in ROWS}
RETAIN_ONLY = frozenset(row.name for row in ROWS if row.forget is None)  # they have no forget loss of their own
_OF_DENOISERS = {row.name: row.denoising for row in ROWS}
REMEMBERING = frozenset({"npo", "dpo", "altpo"})
"""Rows that ask the original model for the log-probabilities of the forget answers and nothing else."""
OVER = "over"
"""What a recipe calls the row whose losses another row's rule takes: `method: {name: hamu_q, over: npo}`."""


def made(name: str, task: Task, original: nn.Module, forget: object, arguments: Mapping[str, Any]) -> Method:
    """A row of the catalogue; what it asks of the original model alone is asked now, so that no copy is needed.

    Args:
        name: of the row.
        task: what the model does.
        original: before it moves.
        forget: the forget set; the answers of texts are asked for, of anything else a copy of the model is kept.
        arguments: hyperparameters other than the defaults; with "over", the name of another row or a mapping of its
            `name` and hyperparameters, the rule is this row's and the losses are that one's.

    Raises:
        ConfigurationError: the other row has no forget loss.
    """
    own, other = divided(arguments)
    row = METHODS[name](task, _known(name, task, original, forget), **own)
    if other is None:
        return row
    losses = METHODS[other[0]](task, _known(other[0], task, original, forget), **other[1])
    if losses.forget is None:
        raise ConfigurationError(f"method.over: {other[0]} has no forget loss for {name} to take; npo has one")
    return replace(row, forget=losses.forget, retain=losses.retain or row.retain, paper=f"{row.paper}; {losses.paper}")


def usual(name: str, task: Task) -> dict[str, Any]:
    """Hyperparameters of a row that have another default for this task than its signature says; of other names none."""
    return dict(_OF_DENOISERS.get(name, {})) if denoises(task) else {}


def divided(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, dict[str, Any]] | None]:
    """A row's own hyperparameters, and the name and hyperparameters of the row that it is over, if it is."""
    own = dict(arguments)
    other = own.pop(OVER, None)
    if other is None:
        return own, None
    theirs = {"name": other} if isinstance(other, str) else dict(other)
    return own, (theirs.pop("name"), theirs)


def title(name: str, arguments: Mapping[str, Any]) -> str:
    """What a method is called: "hamu_q over npo"."""
    other = divided(arguments)[1]
    return name if other is None else f"{name} over {other[0]}"


def _known(name: str, task: Task, original: nn.Module, forget: object) -> Any:
    """The original, or what it said of the forget answers where a row asks no more of it."""
    if name in REMEMBERING and isinstance(forget, Answers) and all(local(p) is p for p in original.parameters()):
        return remember(original, task, forget)
    return original
