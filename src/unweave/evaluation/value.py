"""What a measurement is: a number with its interval and sample size, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unweave.errors import UnweaveError

Array = NDArray[np.float64]


class UndefinedScore(UnweaveError):
    """A number that these data cannot give: too few examples, or outputs that are not finite."""


@dataclass(frozen=True)
class Measurement:
    """A value, the examples that entered, and its 95 % interval; None where examples leave none."""

    value: float
    n: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Score:
    """One metric of one model.

    Args:
        name: the metric's key, as in `scores.json`.
        value: the number, or None where it is undefined.
        low: lower end of the 95 % interval over examples, for this model; None where there is none.
        high: upper end.
        n: examples that entered.
        definition: how the number is formed.
        unit: "share" (0 to 1), "nats", "points" (hundredths of a share), "ratio" or "p-value".
        reason: why the value is undefined; empty otherwise.

    Raises:
        ValueError: a number that is not finite, or neither a value nor a reason.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    definition: str
    unit: str
    reason: str = ""

    def __post_init__(self) -> None:
        numbers = (self.value, self.low, self.high)
        if any(x is not None and not math.isfinite(x) for x in numbers):
            raise ValueError(f"{self.name}: value, low and high are finite or None; found {numbers}.")
        if (self.value is None) != bool(self.reason):
            raise ValueError(f"{self.name}: a score has either a value or a reason why it is undefined.")

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON; `Score(**fields)` reads them back."""
        return asdict(self)


def measured(name: str, definition: str, unit: str, measure: Callable[[], Measurement]) -> Score:
    """Runs `measure`; an `UndefinedScore`, or a number that is not finite, becomes a score without a value, and why."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is looked for below
            m = measure()
        if not all(x is None or math.isfinite(x) for x in (m.value, m.low, m.high)):
            raise UndefinedScore(f"Formed from {m.n} examples, it is not finite: some of their values are too large.")
    except UndefinedScore as undefined:
        return Score(name, None, None, None, 0, definition, unit, str(undefined))
    return Score(name, m.value, m.low, m.high, m.n, definition, unit)


def finite(values: ArrayLike, what: str, at_least: int = 1) -> Array:
    """The values as a sorted float64 vector, so that no result depends on the order of the examples.

    Raises:
        UndefinedScore: fewer than `at_least`, or one that is not finite.
    """
    array = np.sort(np.asarray(values, dtype=np.float64).ravel())
    broken = int((~np.isfinite(array)).sum())
    if broken:
        raise UndefinedScore(f"{broken} of {len(array)} {what} outputs are not finite: the model diverged.")
    if len(array) < at_least:
        raise UndefinedScore(f"It needs at least {at_least} {what} examples; there are {len(array)}.")
    return array
