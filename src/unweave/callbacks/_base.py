"""What looks on while a run goes, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from unweave.arguments import callable_with, wrong
from unweave.contract.reading import Waypoint
from unweave.errors import noted
from unweave.results import Record, Result

if TYPE_CHECKING:
    from unweave.objectives import Objectives

TAKES = {"on_step": ("a Record and the Objectives", 2), "on_reading": ("a Waypoint", 1), "on_end": ("a Result", 1)}
"""The methods that a callback may have, and what each is called with."""
WORDS = "an object with on_step, on_reading or on_end"


class OnStep(Protocol):
    """Is told of every step."""

    def on_step(self, record: Record, objectives: Objectives) -> None:
        """After a step, and after what the contract made of it; the objectives are as they are then."""


class OnReading(Protocol):
    """Is told of every reading of the contract."""

    def on_reading(self, reading: Waypoint) -> None:
        """After the step of that number (`reading.step`), right after its `on_step`."""


class OnEnd(Protocol):
    """Is told of the end."""

    def on_end(self, result: Result) -> None:
        """When the model is the one that is left and the contract is judged; also after Ctrl-C, not after an error."""


Callback = OnStep | OnReading | OnEnd
"""What looks on while a run goes: any object with one, two or all of these methods. What they return is not looked at;
to end a run is the affair of `stop`. What one raises ends the run, with a note of whose it is."""


def listeners(name: str, given: Any) -> str:
    """What is wrong with a list of callbacks."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        return wrong(name, f"a list of callbacks: each {WORDS}", given)
    for number, each in enumerate(given):
        methods = {method: getattr(each, method) for method in TAKES if hasattr(each, method)}
        if not methods:
            advice = " Make the function the on_step of an object." if callable_with(each, 2) else ""
            return wrong(f"{name}[{number}]", WORDS, each) + advice
        if isinstance(each, type):
            return wrong(f"{name}[{number}]", WORDS, each) + f" Pass one of it: {each.__name__}(...)."
        for method, (words, count) in TAKES.items():
            if method in methods and not callable_with(methods[method], count):
                return wrong(f"{name}[{number}].{method}", f"a function of {words}", methods[method])
    return ""


@dataclass(frozen=True)
class Told:
    """Tells all callbacks, in their order.

    Args:
        callbacks: whom.
    """

    callbacks: Sequence[Callback]

    def step(self, record: Record, objectives: Objectives) -> None:
        """Of a step."""
        self._each("on_step", f"after step {record.number}", record, objectives)

    def reading(self, reading: Waypoint) -> None:
        """Of a reading."""
        self._each("on_reading", f"after the reading at step {reading.step}", reading)

    def end(self, result: Result) -> None:
        """Of the end."""
        self._each("on_end", "at the end", result)

    def _each(self, method: str, when: str, *told: object) -> None:
        for each in self.callbacks:
            if (heard := getattr(each, method, None)) is not None:
                with noted(f"the callback {type(each).__name__}.{method}, {when}"):
                    heard(*told)
