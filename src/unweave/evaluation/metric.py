"""What a score is and what it takes to believe one: definition, interval, sizes, null level, or why there is none.

The null level is what an exact method, retraining, would score at the same sizes. Most published scores do not call
an exact method perfect; a score without its null level cannot be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Generic, Literal, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unweave.errors import UnweaveError

Array = NDArray[np.float64]
Right = Literal["higher", "lower", "as null"]
Replicate = Literal["run", "example", "record", "prompt"]
Seen = ParamSpec("Seen")


class UndefinedScore(UnweaveError):
    """A number that these data cannot give: too few examples, or outputs that are not finite."""


@dataclass(frozen=True)
class Metric:
    """What a score is, whatever its value.

    Args:
        name: its key.
        definition: how the number is formed.
        unit: "share" (0 to 1), "points" (hundredths of a share), "nats", "ratio", "standard deviations" or the metric's
            own.
        right: "higher" or "lower" is better, or "as null": both directions away from the null level are wrong.
        limits: the smallest and the largest value that there is.
        replicate: what was repeated. "run": the interval speaks of other trainings; "example": of other examples,
            for this model only; "prompt": of other prompts, for this model only; "record": of other draws of the
            coins, for this model only.
        needs: what has to be there.
        undefined_when: when there is no number.
        source: the paper.
        exact: what an exact method scores, in words, where that is no number that the sizes decide; otherwise the
            score has it as its null level.
        plain: its name in plain words, as heads of pages have it ("right on the data to forget").
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
    plain: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON; a limit that is infinite is None."""
        return {**asdict(self), "limits": [x if math.isfinite(x) else None for x in self.limits]}

    def of(self, sizes: Mapping[str, int], measure: Callable[[], Measurement]) -> Score:
        """Runs `measure`; an `UndefinedScore`, or a number that is not finite, becomes a score that says why.

        Args:
            sizes: how many of what enter; empty where `measure` counts.
            measure: forms the number.
        """
        try:
            with np.errstate(all="ignore"):  # what is not finite is looked for below
                m = measure()
            sizes = sizes or {f"{self.replicate}s": m.n}
            if not _finite(m.value, m.low, m.high, m.p):
                n = ", ".join(f"{n} {what}" for what, n in sizes.items())
                raise UndefinedScore(f"Formed from {n}, it is not finite: some of their values are too large.")
        except UndefinedScore as undefined:
            return Score(self, dict(sizes), None, reason=str(undefined))
        return Score(self, dict(sizes), m.value, m.low, m.high, m.interval, m.null, m.p)


@dataclass(frozen=True)
class Null:
    """Mean and central 95 % range of what an exact method scores at the same sizes, and how that is known."""

    value: float
    low: float
    high: float
    how: str


@dataclass(frozen=True)
class Measurement:
    """A value, its 95 % interval and that one's name, its null level, a p-value of "the method is exact", and n."""

    value: float
    low: float | None = None
    high: float | None = None
    interval: str = ""
    null: Null | None = None
    p: float | None = None
    n: int = 0


@dataclass(frozen=True)
class Score:
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
        if not _finite(*numbers):
            raise ValueError(f"{self.name}: numbers are finite or None; found {numbers}.")
        if (self.value is None) != bool(self.reason):
            raise ValueError(f"{self.name}: a score has either a value or a reason why it is undefined.")

    @property
    def name(self) -> str:
        """The metric's."""
        return self.metric.name

    @property
    def definition(self) -> str:
        """The metric's."""
        return self.metric.definition

    @property
    def unit(self) -> str:
        """The metric's."""
        return self.metric.unit

    @property
    def n(self) -> int:
        """What entered, of that of which least did; 0 where nothing was formed."""
        return min(self.sizes.values(), default=0)

    def as_dict(self) -> dict[str, Any]:
        """All fields and those of the metric, ready for JSON: an entry of `evidence.json`."""
        return {**asdict(self), "metric": self.metric.as_dict(), "sizes": dict(self.sizes)}

    def brief(self) -> dict[str, Any]:
        """An entry of `scores.json`: what only the metric knows stands in `unweave metrics`."""
        own = {"name": self.name, "value": self.value, "low": self.low, "high": self.high, "n": self.n}
        return {**own, "definition": self.definition, "unit": self.unit, "reason": self.reason}

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: undefined. {self.reason}"
        sizes = ", ".join(f"{n} {what}" for what, n in self.sizes.items())
        found = f"{self.name} {self.value:.3g}"
        if self.low is not None and self.high is not None:
            found += f" [{self.low:.3g}, {self.high:.3g}]"
        if self.null is not None:
            found += f", an exact method {self.null.value:.3g} [{self.null.low:.3g}, {self.null.high:.3g}]"
        return f"{found}, {sizes}"


@dataclass(frozen=True)
class Row(Generic[Seen]):
    """One score of a sheet: what it is, and what forms it.

    Args:
        metric: what it is.
        form: forms it from what was seen of a model.
        there: whether a sheet of what was seen has it at all.
        margin: points of a gap to the retrained model in it that do not matter; None where nothing was settled.
        published: its key in the files of those who made it.
    """

    metric: Metric
    form: Callable[Seen, Measurement]
    there: Callable[Seen, bool] = lambda *_, **__: True
    margin: float | None = None
    published: str = ""

    @property
    def name(self) -> str:
        """The metric's."""
        return self.metric.name


def formed(rows: Iterable[Row[Seen]], *seen: Seen.args, **named: Seen.kwargs) -> dict[str, Score]:
    """The sheet: every score that is there, by name."""
    there = (row for row in rows if row.there(*seen, **named))
    return {row.name: row.metric.of({}, partial(row.form, *seen, **named)) for row in there}


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


def _finite(*numbers: float | None) -> bool:
    return all(x is None or math.isfinite(x) for x in numbers)
