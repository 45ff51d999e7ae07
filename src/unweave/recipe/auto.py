"""`method: auto`: candidates that race on the request itself, under one budget of gradients (`run.race`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from unweave.errors import ConfigurationError, UnsupportedError, suggest
from unweave.methods import METHODS
from unweave.tasks import Task

AUTO = "auto"
"""What a recipe calls the method that is not chosen yet."""
HEADLINE = ("hamu_q", "hamu_u", "eupmu", "unilateral_surgery", "ofmu")
BASELINES = ("finetune", "graddiff", "scrub", "npo")
LENGTHS = 4  # runs' worth of gradients that a race takes, at two a step, where nobody says how many


@dataclass(frozen=True)
class Auto:
    """Who races, and how much the whole race may cost.

    Args:
        among: names of the catalogue, two at least, each with its defaults; None: the headline methods and a few
            baselines, of which those that do not fit the task are left out.
        gradients: of one side over one batch each, in the whole race; None: what four runs take at two a step.

    Raises:
        ConfigurationError: a name that is none, one alone or twice, or fewer than two gradients for each.
    """

    among: Sequence[str] | None = None
    gradients: int | None = None

    def __post_init__(self) -> None:
        faults = [
            f"among names no method with steps: {name!r}.{suggest(str(name), METHODS)}"
            for name in self.among or ()
            if name not in METHODS
        ]
        if self.among is not None and (len(self.among) < 2 or len(set(self.among)) < len(self.among)):
            given = ", ".join(map(str, self.among)) or "none"
            faults.append(f"among takes two methods at least, each once; found {given}")
        least = 2 * len(self.among or (*HEADLINE, *BASELINES))
        if self.gradients is not None and not (type(self.gradients) is int and self.gradients >= least):
            faults.append(f"gradients must be at least {least}, two for each method; found {self.gradients!r}")
        if faults:
            raise ConfigurationError(faults)

    def candidates(self, task: Task) -> list[str]:
        """The names of those that fit the task.

        Raises:
            UnsupportedError: one that was asked for does not.
        """
        return fitting(self.among or (*HEADLINE, *BASELINES), task, asked=self.among is not None)

    def budget(self, steps: int) -> int:
        """Gradients of the whole race, where the run may take so many steps."""
        return LENGTHS * 2 * steps if self.gradients is None else self.gradients


def fitting(names: Sequence[str], task: Task, *, asked: bool) -> list[str]:
    """Those of these methods that fit a task.

    Raises:
        UnsupportedError: one does not, and was asked for.
    """
    found = []
    for name in names:
        try:
            METHODS[name](task, nn.Module())
        except UnsupportedError:
            if asked:
                raise
            continue
        found.append(name)
    return found


def word(value: Any) -> Any:
    """Of a recipe's `method`: the word alone stands for the section."""
    return {"name": AUTO} if value == AUTO else value
