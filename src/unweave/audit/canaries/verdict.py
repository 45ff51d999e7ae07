r"""The randomised-inclusion audit, after unlearning: do the scores of any attack predict the coins?

* p-value: the AUC of the scores for the coins against that of coins dealt anew, as many heads as were drawn; two-sided,
  for a model that was pushed away from what it unlearned tells the coins as well. Exact at every size, with ties.
* hits: the r/2 highest scores are guessed heads, the r/2 lowest tails; Binomial(r, 1/2) under exact unlearning.
* epsilon: if the coins change the model by (eps, delta) at most, with q = e^eps / (1 + e^eps) and W ~ Binomial(r, q),

      P(hits >= v) <= P(W >= v) + 2 m delta max_i P(v - i <= W < v) / i,

  and the bound is the largest eps that this rejects. Steinke, Nasr and Jagielski, NeurIPS 2023, Theorem 5.2. Either
  direction is tried at half the level. All hits right would give the ceiling: the audit cannot show more. A bound above
  0 is claimed only where the p-value refutes exactness: first the one test, then the other, needs no correction.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unweave.audit.canaries.plan import FEWEST, Plan, too_few
from unweave.data.text_file import as_meant, parse_csv, parse_json, read_text, short
from unweave.errors import ConfigurationError
from unweave.evaluation.intervals import proportion_interval
from unweave.evaluation.metric import Array, Measurement, Metric, Null, Score, null_of
from unweave.evaluation.ranking import Ranking

DEALS = 9999
_AT_A_TIME = 1 << 22
_NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|[-+]?inf(inity)?|nan"
_NEEDS = "coins that were drawn before training, and a score for every canary"
_SOURCE = "Steinke, Nasr and Jagielski, NeurIPS 2023"
_NEVER = "fewer than 20 canaries (without --few), or coins that all fell alike"
AUC = Metric(
    "audit_auc",
    "P(score of a canary with heads > score of one with tails) + P(equal) / 2",
    *("share", "as null", (0, 1), "record", _NEEDS, _NEVER, _SOURCE),
    plain="told whether it was trained on and forgotten",
)
HITS = Metric(
    "audit_hits",
    "share of the guesses that name the coin: the highest scores heads, the lowest tails",
    *("share", "as null", (0, 1), "record", _NEEDS, _NEVER, _SOURCE),
    plain="coins that are guessed",
)
EPSILON = Metric(
    "audit_epsilon",
    "lower bound of the epsilon by which inclusion followed by unlearning changes the model",
    *("nats", "lower", (0, math.inf), "record", _NEEDS, _NEVER, _SOURCE),
    plain="how much inclusion shows at least",
)


@dataclass(frozen=True)
class Judgement:
    """What the scores say.

    Args:
        plan: the coins and what was settled with them.
        auc: with its exact p-value, the one that decides.
        hits: with the exact binomial p-value, two-sided.
        epsilon: the lower bound at confidence `1 - level`.
        ceiling: the largest epsilon that this audit could have shown.
    """

    plan: Plan
    auc: Score
    hits: Score
    epsilon: Score
    ceiling: float

    @property
    def refuted(self) -> bool:
        """The scores predict the coins: this model was not unlearned exactly."""
        return self.auc.p is not None and self.auc.p <= self.plan.level

    @property
    def text(self) -> str:
        """The verdict in plain words."""
        few = len(self.plan.canaries)
        return self._found + (f" Of {few} canaries, fewer than {FEWEST}, intervals say little." * (few < FEWEST))

    @property
    def _found(self) -> str:
        assert self.auc.value is not None and self.auc.null is not None and self.auc.p is not None
        facts = (
            f"AUC {self.auc.value:.3f} with {len(self.plan.canaries)} canaries, where an exact method reads "
            f"{self.auc.null.low:.3f} to {self.auc.null.high:.3f} (p = {self.auc.p:.2g})"
        )
        if not self.refuted:
            return (
                f"No trace was found: {facts}. This attack cannot tell which canaries the model was trained on. A "
                f"stronger one might; and this audit could not have shown an epsilon above {self.ceiling:.2f}."
            )
        how = "still knows" if self.auc.value > 0.5 else "was pushed away from, and so gives away,"
        return f"The model {how} which canaries it was trained on: {facts}. Exact unlearning is refuted."

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        counts = {"canaries": len(self.plan.canaries), "included": sum(self.plan.included)}
        numbers = {name: getattr(self, name).as_dict() for name in ("auc", "hits", "epsilon")}
        return {
            **counts,
            **self.plan.settled,
            **numbers,
            "ceiling": self.ceiling,
            "refuted": self.refuted,
            "text": self.text,
        }


def judge(plan: Plan, scores: Mapping[str, float], *, lower: bool = False, few: bool = False) -> Judgement:
    """Tests whether the scores predict the coins.

    Args:
        plan: of before the training.
        scores: one per canary, of any attack that has not seen the coins; higher says "was trained on".
        lower: lower says so, as a loss does.
        few: fewer than 20 canaries will do; the verdict says what that costs.

    Raises:
        ConfigurationError: fewer than 20 canaries, a canary without a score or the reverse, a score that is not
            finite, all scores equal, or coins that all fell alike.
    """
    if not few and (fault := too_few(len(plan.canaries))):
        raise ConfigurationError(fault)
    values = _ordered(plan, scores) * (-1 if lower else 1)
    heads = np.array(plan.included)
    m, n = len(heads), int(heads.sum())
    area = Ranking([(values[heads], values[~heads])])
    dealt = _dealt(values, n, plan.seed)
    far = int((np.abs(dealt - 0.5) >= abs(area.area - 0.5) - 1e-12).sum())
    null, p = null_of(dealt, f"{len(dealt)} deals of the coins"), (1 + far) / (1 + len(dealt))
    sizes = {"canaries": m, "heads": n}
    auc = Score(AUC, sizes, area.area, *area.interval, "DeLong", null, p)
    r = plan.guesses
    right = _hits(plan, values, heads)
    most = max(right, r - right)
    guesses = {**sizes, "guesses": r}
    interval = proportion_interval(right, r)
    hits = Score(
        HITS, guesses, right / r, *interval, "Clopper-Pearson", _binomial(r), min(1.0, 2 * _tail(most, r, 0.5))
    )
    bound, ceiling = (epsilon_of(v, r, m, plan.level / 2, plan.delta) for v in (most, r))
    bound = bound if p <= plan.level else 0.0
    of_none = Null(0.0, 0.0, 0.0, "a lower bound of 0 is above 0 in at most a share `level` of audits")
    found = Measurement(bound, bound, None, f"{100 * (1 - plan.level):g} %, one-sided", of_none)
    return Judgement(plan, auc, hits, EPSILON.of(guesses, lambda: found), ceiling)


def epsilon_of(hits: int, guesses: int, canaries: int, level: float, delta: float = 0.0) -> float:
    """The largest epsilon that so many hits reject at a level; 0 if they reject none."""

    def p(eps: float) -> float:
        from scipy.special import bdtr

        q = 1 / (1 + math.exp(-eps))
        beyond = _tail(hits, guesses, q)
        if not delta:
            return beyond
        below = np.append(0.0, bdtr(np.arange(hits), guesses, q))  # P(W < 0), ..., P(W < hits)
        i = np.arange(1, hits + 1)
        slack = ((below[-1] - below[hits - i]) / i).max(initial=0.0)
        return min(1.0, beyond + 2 * canaries * delta * float(slack))

    if p(0.0) > level:
        return 0.0
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if p(middle) <= level else (low, middle)
    return low


def read_scores(path: Path) -> dict[str, float]:
    """Scores from `.csv` with columns id and score, or `.json` with an object of id to score.

    Raises:
        ConfigurationError: no such file, another ending, contents of another form, or an id twice.
    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise ConfigurationError(f"{path} must end in .csv or .json, found {path.suffix or 'no ending'}")
    try:
        pairs = (_scores_of_csv if path.suffix.lower() == ".csv" else _scores_of_json)(read_text(path))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} must hold a score for each canary and cannot be read: {error}") from error
    if twice := [name for name, n in Counter(name for name, _ in pairs).items() if n > 1]:
        raise ConfigurationError(f"{path} must score every canary once; {len(twice)} have more, such as {twice[0]!r}")
    return dict(pairs)


def _scores_of_csv(text: str) -> list[tuple[str, float]]:
    rows = parse_csv(text, _is_header)
    if not rows or not _is_header(rows[0][1]):
        raise ValueError("the first line must be id,score")
    pairs = []
    for line, cells in rows[1:]:
        if len(cells) != 2 or not re.fullmatch(_NUMBER, cells[1].strip(), re.IGNORECASE):
            raise ValueError(f"line {line}: expected an id and a score, found {short(cells)}")
        pairs.append((as_meant(cells[0].strip()), float(cells[1])))
    return pairs


def _scores_of_json(text: str) -> list[tuple[str, float]]:
    pairs = parse_json(text, tuple)
    if not isinstance(pairs, tuple):
        raise ValueError(f"expected an object of id to score, found {type(pairs).__name__}")
    for name, score in pairs:
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise ValueError(f"expected a number as the score of {short(name)}, found {short(score)}")
    return [(name, float(score)) for name, score in pairs]


def _is_header(cells: Sequence[str]) -> bool:
    return [cell.strip().lower() for cell in cells] == ["id", "score"]


def _ordered(plan: Plan, scores: Mapping[str, float]) -> Array:
    lacking = [name for name in plan.canaries if name not in scores]
    strange = sorted(set(scores) - set(plan.canaries))
    if lacking or strange:
        parts = [f"{len(lacking)} canaries have no score, such as {lacking[0]!r}"] if lacking else []
        parts += [f"{len(strange)} scores are of no canary, such as {strange[0]!r}"] if strange else []
        raise ConfigurationError(
            f"The scores must be those of the plan's {len(plan.canaries)} canaries: {'; '.join(parts)}"
        )
    values = np.array([scores[name] for name in plan.canaries], dtype=np.float64)
    if broken := int((~np.isfinite(values)).sum()):
        raise ConfigurationError(
            f"{broken} of {len(values)} scores are not finite: the model diverged, or the attack failed."
        )
    if values.min() == values.max():
        raise ConfigurationError("All scores are equal: this attack says nothing, and passing it would mean nothing.")
    if len(set(plan.included)) < 2:
        raise ConfigurationError(
            "All coins of the plan fell alike: nothing can be told. Draw another plan, and train again."
        )
    return values


def _dealt(values: Array, heads: int, seed: int) -> Array:
    """AUCs of coins dealt anew."""
    from scipy.stats import rankdata

    ranks, m = rankdata(values), len(values)
    rng, found = np.random.default_rng([seed, 1]), []
    deals = DEALS if m <= 2000 else 999
    rows = max(1, _AT_A_TIME // m)
    for start in range(0, deals, rows):
        keys = rng.random((min(rows, deals - start), m), dtype=np.float32)
        chosen = np.argpartition(keys, heads - 1, axis=1)[:, :heads]
        found.append(ranks[chosen].sum(axis=1))
    return np.asarray((np.concatenate(found) - heads * (heads + 1) / 2) / (heads * (m - heads)))


def _hits(plan: Plan, values: Array, heads: NDArray[np.bool_]) -> int:
    """Right guesses; equal scores are ordered by a hash of their ids, which knows nothing of the coins."""
    ties = [hashlib.sha256(name.encode()).digest() for name in plan.canaries]
    order = np.array(sorted(range(len(values)), key=lambda i: (values[i], ties[i])))
    half = plan.guesses // 2
    return int(heads[order[-half:]].sum() + (~heads[order[:half]]).sum())


def _tail(hits: int, guesses: int, q: float) -> float:
    """P(Binomial(guesses, q) >= hits)."""
    from scipy.special import bdtrc

    return 1.0 if hits <= 0 else float(bdtrc(hits - 1, guesses, q))


def _binomial(guesses: int) -> Null:
    from scipy.stats import binom

    low, high = (float(binom.ppf(q, guesses, 0.5)) / guesses for q in (0.025, 0.975))
    return Null(0.5, low, high, "binomial")
