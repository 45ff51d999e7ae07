"""What a number needs to be believed: its interval, its sizes, and its null level.

The null level is what an exact method, retraining, would score at the same sizes. Most published scores do not call
an exact method perfect; a score without its null level cannot be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from unweave.evaluation.value import Array, Measurement, Score, UndefinedScore, measured

Right = Literal["higher", "lower", "as null"]
Replicate = Literal["run", "example", "record", "prompt"]


@dataclass(frozen=True)
class Metric:
    """What a score is, whatever its value.

    Args:
        name: its key.
        definition: how the number is formed.
        unit: "share", "points", "nats", "ratio", "standard deviations" or the metric's own.
        right: "higher" or "lower" is better, or "as null": both directions away from the null level are wrong.
        limits: the smallest and the largest value that there is.
        replicate: what was repeated. "run": the interval speaks of other trainings; "example": of other examples,
            for this model only; "prompt": of other prompts, for this model only; "record": of other draws of the
            coins, for this model only.
        needs: what has to be there.
        undefined_when: when there is no number.
        source: the paper.
        exact: what an exact method scores, in words, where that is no number that the sizes decide; otherwise the
            evidence has it as its null level.
    """

    name: str
    definition: str
    unit: str
    right: Right
    limits: tuple[float, float]
    replicate: Replicate
    needs: str
    undefined_when: str
    source: str = ""
    exact: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON; a limit that is infinite is None."""
        return {**asdict(self), "limits": [x if math.isfinite(x) else None for x in self.limits]}

    def score(self, measure: Callable[[], Measurement]) -> Score:
        """Runs `measure`, of one model; an `UndefinedScore` becomes a score without a value that says why."""
        return measured(self.name, self.definition, self.unit, measure)

    def of(self, sizes: Mapping[str, int], measure: Callable[[], Found]) -> Evidence:
        """Runs `measure`; an `UndefinedScore` becomes evidence without a value that says why."""
        try:
            return Evidence(self, dict(sizes), **vars(measure()))
        except UndefinedScore as undefined:
            return Evidence(self, dict(sizes), None, reason=str(undefined))


@dataclass(frozen=True)
class Null:
    """Mean and central 95 % range of what an exact method scores at the same sizes, and how that is known."""

    value: float
    low: float
    high: float
    how: str


@dataclass(frozen=True)
class Found:
    """A value, its 95 % interval and the interval's name, its null level, and a p-value of "this method is exact"."""

    value: float
    low: float | None = None
    high: float | None = None
    interval: str = ""
    null: Null | None = None
    p: float | None = None


@dataclass(frozen=True)
class Evidence:
    """One number and what it takes to believe it.

    Args:
        metric: what the number is.
        sizes: how many of what entered, such as `{"unlearned runs": 3, "retrained runs": 5}`.
        value: None where it is undefined.
        low: lower end of the 95 % interval; None where these data leave none.
        high: upper end.
        interval: the interval's name.
        null: what an exact method scores at these sizes.
        p: of the hypothesis that the method is exact; None where there is no test.
        reason: why there is no value; empty otherwise.

    Raises:
        ValueError: a number that is not finite, or neither a value nor a reason.
    """

    metric: Metric
    sizes: Mapping[str, int]
    value: float | None
    low: float | None = None
    high: float | None = None
    interval: str = ""
    null: Null | None = None
    p: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        numbers = (self.value, self.low, self.high, self.p)
        if any(x is not None and not math.isfinite(x) for x in numbers):
            raise ValueError(f"{self.metric.name}: numbers are finite or None; found {numbers}.")
        if (self.value is None) != bool(self.reason):
            raise ValueError(f"{self.metric.name}: evidence has either a value or a reason why it is undefined.")

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {**asdict(self), "metric": self.metric.as_dict(), "sizes": dict(self.sizes)}

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.metric.name}: undefined. {self.reason}"
        sizes = ", ".join(f"{n} {what}" for what, n in self.sizes.items())
        found = f"{self.metric.name} {self.value:.3g}"
        if self.low is not None and self.high is not None:
            found += f" [{self.low:.3g}, {self.high:.3g}]"
        if self.null is not None:
            found += f", an exact method {self.null.value:.3g} [{self.null.low:.3g}, {self.null.high:.3g}]"
        return f"{found}, {sizes}"


def whole(values: ArrayLike, what: str, *, axes: int, at_least: int = 1) -> Array:
    """The values as float64 in their order.

    Raises:
        UndefinedScore: another number of axes, fewer than `at_least` rows, no columns, or a value that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != axes:
        raise UndefinedScore(f"The {what} need {axes} axes; found shape {list(array.shape)}.")
    broken = int((~np.isfinite(array)).sum())
    if broken:
        raise UndefinedScore(f"{broken} of {array.size} {what} are not finite: a model diverged.")
    if len(array) < at_least or array.size == 0:
        raise UndefinedScore(f"It needs at least {at_least} {what}; found shape {list(array.shape)}.")
    return array


def null_of(draws: Array, how: str) -> Null:
    """The null level from draws of the score under an exact method."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return Null(float(draws.mean()), float(low), float(high), how)
