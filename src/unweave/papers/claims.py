"""What the seeds say of a claim: yes, no or undecided, with the interval that decides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import correlation, fmean, stdev
from typing import Any, Literal

from scipy.stats import t

from unweave.papers.experiment import Claim

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval, mean +- t sd / sqrt n; without ends for fewer than two."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def over_seeds(values: Sequence[float | None]) -> Interval:
    """Of the values of the seeds; without a value where one of them is not defined."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or len(known) < len(values):
        return Interval(None, None, None, len(known))
    mean, n = fmean(known), len(known)
    if n < 2:
        return Interval(mean, None, None, n)
    half = float(t.ppf(0.975, n - 1)) * stdev(known) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


@dataclass(frozen=True)
class Answer:
    """What came of a claim."""

    text: str
    answer: Literal["yes", "no", "undecided"]
    value: float | None
    low: float | None
    high: float | None
    n: int
    bound: str
    why: str
    reported: str

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def answers(claims: Sequence[Claim], rows: Sequence[Json], complete: bool = True) -> list[Answer]:
    """Every claim's.

    Args:
        claims: of an experiment.
        rows: of its runs: `where`, `seed`, and `values` by measure.
        complete: whether all runs are there; no claim is answered before.
    """
    return [_answer(claim, rows, complete) for claim in claims]


def _answer(claim: Claim, rows: Sequence[Json], complete: bool) -> Answer:
    seeds = sorted({row["seed"] for row in rows})
    found = over_seeds([_of_seed(claim, [row for row in rows if row["seed"] == seed]) for seed in seeds])
    least = claim.at_least is not None
    bound = float(claim.at_least if claim.at_least is not None else claim.at_most or 0.0)
    told = f"at {'least' if least else 'most'} {bound:g}"
    if not complete:
        why = "not all runs are there"
        return Answer(claim.text, "undecided", None, None, None, found.n, told, why, claim.reported)
    if found.value is None:
        why = f"not defined for {len(seeds) - found.n} of {len(seeds)} seeds"
        return Answer(claim.text, "undecided", None, None, None, found.n, told, why, claim.reported)
    if found.low is None or found.high is None:
        return Answer(claim.text, "undecided", found.value, None, None, found.n, told, "one seed", claim.reported)
    holds = found.low >= bound if least else found.high <= bound
    fails = found.high < bound if least else found.low > bound
    answer: Literal["yes", "no", "undecided"] = "yes" if holds else "no" if fails else "undecided"
    why = "" if holds or fails else "the interval has the bound inside"
    return Answer(claim.text, answer, found.value, found.low, found.high, found.n, told, why, claim.reported)


def _of_seed(claim: Claim, rows: Sequence[Json]) -> float | None:
    """The number that is compared with the bound, of one seed."""
    own = _chosen(rows, claim.of)
    if claim.along is not None:
        pairs = [(float(row["where"][claim.along]), row["values"][claim.measure]) for row in own]
        if len(pairs) < 3 or any(value is None for _, value in pairs):
            return None
        x, y = zip(*pairs, strict=True)
        return correlation(x, y) if len(set(y)) > 1 else None
    mean = _mean(own, claim.measure)
    if claim.than is None or mean is None:
        return mean
    other = _mean(_chosen(rows, claim.than), claim.measure)
    return None if other is None else mean - other


def _chosen(rows: Sequence[Json], where: Mapping[str, str]) -> list[Json]:
    return [row for row in rows if where.items() <= row["where"].items()]


def _mean(rows: Sequence[Json], measure: str) -> float | None:
    values = [row["values"][measure] for row in rows]
    return None if not values or None in values else fmean(values)
