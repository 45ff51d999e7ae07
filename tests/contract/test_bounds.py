"""The bounds against published values, a slow twin, and simulated coverage."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import beta, binom, norm, ttest_ind

from unweave.contract import bounds

# b, c, n, two-sided confidence, lower, upper; Tango (1998), table III (contact lenses), and Fagerland, Lydersen and
# Laake, Stat. Med. 33 (2014) 2850, on Bentur's airways, both printed with three digits.
PUBLISHED = [(0, 1, 44, 0.90, -0.096, 0.037), (1, 7, 21, 0.95, -0.517, -0.026)]


@pytest.mark.parametrize(("b", "c", "n", "confidence", "low", "high"), PUBLISHED)
def test_published_intervals(b: int, c: int, n: int, confidence: float, low: float, high: float) -> None:
    alpha = (1 - confidence) / 2
    assert round(bounds.score(b, c, n, alpha), 3) == high
    assert round(-bounds.score(c, b, n, alpha), 3) == low


def slow(b: int, c: int, n: int, alpha: float) -> float:
    """The constrained likelihood maximised by search, the score equation solved by another solver."""

    def statistic(delta: float) -> float:
        def loss(q: float) -> float:  # q: the original alone fails; q + delta: the new model alone fails
            cells = ((b, q + delta), (c, q), (n - b - c, 1 - 2 * q - delta))
            return -sum(k * math.log(max(p, 1e-300)) for k, p in cells if k)

        low, high = max(0.0, -delta), (1 - delta) / 2
        q = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
        return (b - c - n * delta) / math.sqrt(n * (2 * q + delta - delta * delta))

    z = norm.isf(alpha)
    return float(brentq(lambda delta: statistic(delta) + z, (b - c) / n + 1e-9, 1 - 1e-9, xtol=1e-12))


def test_the_closed_form_is_the_maximum_of_the_likelihood() -> None:
    count = 0
    for n in (12, 60, 291):
        for b, c in ((0, 1), (1, 0), (3, 3), (7, 2), (2, 9)):
            for alpha in (0.05, 0.0125):
                assert bounds.score(b, c, n, alpha) == pytest.approx(slow(b, c, n, alpha), abs=2e-5)
                count += 1
    assert count == 30


def test_without_discordance_the_score_bound_is_closed() -> None:
    """`z^2 / (n + z^2)`, whatever z is."""
    for n in (1, 30, 1000):
        for alpha in (0.4, 0.2, 0.05, 0.0005):
            z2 = float(norm.isf(alpha)) ** 2
            assert bounds.score(0, 0, n, alpha) == pytest.approx(z2 / (n + z2), rel=1e-9)


def test_needed_is_the_least_that_is_enough() -> None:
    count = 0
    for alpha in (0.2, 0.05, 0.0125):
        for clip in (None, 1.0, 3.0):
            for limit in (0.01, 0.1, 0.4):
                enough = bounds.needed(limit, alpha, clip)
                assert bounds.smallest(enough, alpha, clip) <= limit < bounds.smallest(enough - 1, alpha, clip)
                assert bounds.needed(bounds.smallest(enough, alpha, clip), alpha, clip) == enough, "a limit just kept"
                assert bounds.size(limit, alpha, clip) == bounds.needed(limit / 2, alpha, clip)
                count += 1
    assert count == 27 and bounds.size(None, 0.05) == bounds.SIZE
    assert bounds.smallest(0, 0.05) == 1.0 and bounds.smallest(0, 0.05, 3.0) == math.inf
    assert bounds.needed(1e-300, 0.05) == bounds.MOST


def test_ends_of_the_scale() -> None:
    assert bounds.tango(5, 0, 5, 0.05) == 1.0 and bounds.tango(0, 5, 5, 0.05) < 0
    for clip in (None, 3.0):
        for bound in (bounds.upper, bounds.lower):
            assert bound(np.array([0.0, np.nan]), 0.05, clip) == math.inf
            assert bound(np.array([]), 0.05, clip) == math.inf
    assert bounds.upper(np.array([0.3]), 0.05, 3.0) > 2.5, "one example decides next to nothing"
    assert bounds.upper(np.full(40, 5.0), 0.05, 3.0) == 5.0 and bounds.lower(np.full(40, 5.0), 0.05, 3.0) < 3.0


def test_which_bound_is_taken() -> None:
    changes, real = np.array([1.0, 0, 0, -1, 0, 0]), np.array([0.5, 0, 0.1, -1, 0, 0])
    assert bounds.upper(changes, 0.05) == bounds.tango(1, 1, 6, 0.05)
    assert bounds.lower(changes, 0.05) == -bounds.tango(1, 1, 6, 0.05)
    assert bounds.upper(real, 0.05, 2.0) == bounds.clipped(real, 0.05, 2.0)
    assert bounds.lower(real, 0.05, 2.0) == -bounds.betting(-real, np.ones(6), 0.05, 2.0)
    assert bounds.lower(real, 0.05, 2.0) < real.mean() < bounds.upper(real, 0.05, 2.0)


LEVELS = (0.2, 0.1, 0.05, 0.025, 0.0125)  # confidence .8 to .95, with and without three rollbacks


def test_failures_alone_are_bounded_exactly() -> None:
    """Where the original alone fails nowhere, the true error at the worst limit is binomial: as promised, or less."""
    count = 0
    for n in (20, 50, 100, 400):
        for alpha in LEVELS:
            limits = [bounds.tango(b, 0, n, alpha) for b in range(12)]
            errors = [float(binom.cdf(b, n, limit)) for b, limit in enumerate(limits) if limit < 1]
            assert max(errors) <= alpha * (1 + 1e-9) and max(errors) > 0.75 * alpha
            assert limits == sorted(limits)
            count += len(errors)
    assert count >= 230


def test_rare_failures_alone_have_the_exact_bound_where_it_is_the_larger() -> None:
    """Clopper and Pearson's, and no more than it: at alpha = .05 of few failures in up to a hundred examples."""
    count = 0
    for n in (20, 50, 100):
        for b in range(6):
            assert bounds.tango(b, 0, n, 0.05) == pytest.approx(beta.ppf(0.95, b + 1, n - b), rel=1e-9)
            count += 1
    assert count == 18


def test_gains_elsewhere_do_not_hide_the_losses_that_none_of_the_examples_shows() -> None:
    """No loss beyond the clip in n examples: up to `1 - alpha^(1/n)` of all may. Exactly the clip is not beyond."""
    for n, alpha in ((50, 0.05), (400, 0.0125)):
        unseen = 3.0 * (1 - alpha ** (1 / n))
        for worst in (-3.0, 3.0):
            values = np.append(np.full(n - 1, -3.0), worst)
            assert bounds.upper(values, alpha, 3.0) == pytest.approx(unseen, rel=1e-9)


def test_the_paired_bound_never_errs_more_than_promised() -> None:
    """All tables are counted, whatever share the original alone gets wrong, for limits that may be asked.

    Tango's bound as published claims a broken limit in up to twice as many cases as promised.
    """
    count, tangos = 0, 0.0
    for n in (20, 50, 120):
        for alpha in (0.2, 0.05, 0.0125):
            top = min(n, 44)
            assert error(bounds.tango, n, alpha, top) <= alpha * 1.005
            tangos = max(tangos, error(bounds.score, n, alpha, top) / alpha)
            count += 1
    assert count == 9 and tangos > 1.9


def error(bound: Callable[[int, int, int, float], float], n: int, alpha: float, top: int) -> float:
    """The largest probability of claiming a limit that is just broken; claims beyond `top` failures are left out."""
    cells = range(top)
    table = np.array([[bound(b, c, n, alpha) if b + c <= n else 2.0 for b in cells] for c in cells])
    shares = np.array([0.0, *np.geomspace(0.05 / n, min(8 / n, 0.3), 9)])[:, None]  # that the original alone gets wrong
    asked = np.unique(table[(table >= table[0, 0]) & (table < min(1 / 3, 24 / n))])
    worst = 0.0
    for limit in asked[:: max(1, len(asked) // 40)]:
        most = (table <= limit).sum(1) - 1  # b up to which it is claimed, by c
        claimed = binom.cdf(np.maximum(most, 0), n - np.arange(top), (limit + 1e-12 + shares) / (1 - shares))
        found = (binom.pmf(np.arange(top), n, shares) * np.where(most >= 0, claimed, 0.0)).sum(1)
        worst = max(worst, float(found.max()))
    return worst


def test_rare_failures_of_any_size_do_not_break_the_promise() -> None:
    """A share of the examples loses `size`, the rest nothing: what is claimed follows from their binomial number.

    Two claims: on the mean of the clipped losses, and on the share beyond the clip.
    """
    count, clip = 0, 3.0
    for n in (40, 100, 400):
        for size in (0.1, 1.0, 3.0, 10.0, 200.0):
            for alpha in (0.05, 0.0125):
                found = [bounds.upper(np.repeat([size, 0.0], [k, n - k]), alpha, clip) for k in range(14)]
                assert found == sorted(found)
                for k, limit in enumerate(found[:-1]):
                    share = (limit + 1e-9) / min(size, clip)  # the clipped mean is just over the limit
                    if share <= 1:
                        assert binom.cdf(k, n, share) <= alpha
                        count += 1
    assert count == 247


def test_it_holds_for_light_and_heavy_tails() -> None:
    rng, draws, alpha, clip, tried = np.random.default_rng(0), 150, 0.1, 1.0, 0
    laws: dict[str, Callable[[int], Any]] = {
        "normal": lambda n: rng.normal(0.1, 0.2, n),
        "lognormal": lambda n: rng.lognormal(-4.0, 2.0, n),
        "Pareto": lambda n: 0.02 * rng.pareto(1.2, n),
        "Cauchy": lambda n: 0.05 * rng.standard_cauchy(n) + 0.05,
        "steps": lambda n: np.where(rng.random(n) < 0.02, 7.0, -0.01),
    }
    for draw in laws.values():
        mean = float(np.clip(draw(1_000_000), -clip, clip).mean())
        for n in (30, 100):
            highs, lows = zip(*(ends(draw(n), alpha, clip) for _ in range(draws)), strict=True)
            most = binom.ppf(0.999, draws, alpha)
            assert sum(high < mean for high in highs) <= most and sum(low > mean for low in lows) <= most
            tried += 1
    assert tried == 10


def ends(values: Any, alpha: float, clip: float) -> tuple[float, float]:
    return bounds.upper(values, alpha, clip), bounds.lower(values, alpha, clip)


def test_what_stays_decidable_on_small_guard_sets() -> None:
    """Small changes of the loss, on as many examples as small data sets leave, at a clip of 3 nats."""
    rng, count = np.random.default_rng(0), 0
    for n, limit in ((100, 0.18), (250, 0.08), (1000, 0.03)):
        for spread in (0.0, 0.02, 0.1):
            assert bounds.upper(rng.normal(0.0, spread, n), 0.0125, 3.0) < limit
            count += 1
    assert count == 9


def test_a_larger_loss_never_lowers_the_bound() -> None:
    rng, count = np.random.default_rng(3), 0
    for _ in range(30):
        values = rng.normal(0.0, 0.5, 25)
        before = bounds.upper(values, 0.05, 1.0)
        values[rng.integers(25)] += rng.exponential(3.0)
        assert bounds.upper(values, 0.05, 1.0) >= before
        assert bounds.upper(rng.permutation(values), 0.05, 1.0) == pytest.approx(bounds.upper(values, 0.05, 1.0))
        count += 1
    assert count == 30


def test_betting_is_the_exact_bound_up_to_what_is_not_bet() -> None:
    """All zero: half of the capital is bet on the largest l, so `high (1 - (alpha / 2)^(1 / n))` is enough."""
    count = 0
    for n in (5, 60, 700):
        for alpha in (0.05, 0.001):
            found = bounds.betting(np.zeros(n), np.ones(n), alpha, 2.0)
            assert 2 * (1 - alpha ** (1 / n)) < found <= 2 * (1 - (alpha / 2) ** (1 / n)) + 1e-9
            capital = [w * (1 + rho * found / (2 - found)) ** n for rho, w in bounds.BETS.T]
            assert sum(capital) == pytest.approx(1 / alpha, rel=1e-6)
            count += 1
    assert count == 6 and sum(weight for _, weight in bounds.BETS.T) == 1.0


def test_chance_is_the_spread_of_the_rank_sum() -> None:
    rng, count = np.random.default_rng(0), 0
    for n, m in ((3, 40), (30, 30), (60, 200)):
        found = [bounds.attack(rng.normal(size=n), rng.normal(size=m)) - 0.5 for _ in range(3000)]
        assert np.quantile(found, 0.95) == pytest.approx(bounds.chance(n, m, 0.05), rel=0.08)
        count += 1
    assert count == 3 and bounds.chance(0, 5, 0.05) == bounds.chance(5, 0, 0.05) == math.inf


def test_chance_is_exact_for_every_order_of_a_few_scores() -> None:
    """All orders of n members and m others are as likely: the spread of their AUC, counted out."""
    count = 0
    for n, m in ((1, 1), (2, 3), (4, 2), (3, 5)):
        orders = [np.array(chosen, dtype=float) for chosen in combinations(range(n + m), n)]
        found = [bounds.attack(x, np.setdiff1d(np.arange(n + m), x)) for x in orders]
        assert np.std(found) * norm.isf(0.05) == pytest.approx(bounds.chance(n, m, 0.05), rel=1e-9)
        count += len(orders)
    assert count == 83


def test_welch_is_scipys() -> None:
    rng, count = np.random.default_rng(1), 0
    for shift in (-1.0, 0.0, 0.5):
        x, y = rng.normal(shift, 1.0, 30), rng.normal(0.0, 3.0, 80)
        assert bounds.below(x, y) == pytest.approx(ttest_ind(x, y, equal_var=False, alternative="less").pvalue)
        count += 1
    assert count == 3
    assert bounds.below(np.zeros(5), np.ones(5)) == 0.0 and bounds.below(np.ones(5), np.ones(5)) == 1.0
    assert bounds.below(np.zeros(1), np.ones(9)) == 1.0 and bounds.below(np.zeros(9), np.ones(1)) == 1.0
    x, y = np.array([0.1, 0.2]), np.array([0.7, 0.9])
    assert bounds.below(x, y) == pytest.approx(ttest_ind(x, y, equal_var=False, alternative="less").pvalue)


def test_the_level_is_divided_by_paths_and_groups() -> None:
    assert bounds.level(0.95) == pytest.approx(0.05) and bounds.level(0.95, 4, 10) == pytest.approx(0.00125)
