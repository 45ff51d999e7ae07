from __future__ import annotations

import numpy as np
import pytest

from unweave.audit.runs import recovered_share


def test_by_hand() -> None:
    """Original 0.9, control 0.1, unlearned 0.3 on average: a quarter came back."""
    found = recovered_share([0.89, 0.91], [0.09, 0.11], [0.29, 0.31])
    assert found.value == pytest.approx(0.25)
    assert found.low is not None and found.high is not None and found.low < 0.25 < found.high


def test_the_ends_of_the_scale() -> None:
    o, c = [0.9, 0.88, 0.92], [0.1, 0.12, 0.11]
    assert recovered_share(o, c, c).value == 0.0
    assert recovered_share(o, c, o).value == 1.0


def test_the_interval_covers_and_the_null_band_holds_a_control() -> None:
    covered = inside = n = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        o, c, u = rng.normal(1.0, 0.1, 4), rng.normal(0, 0.15, 5), rng.normal(0.4, 0.05, 3)
        found, exact = recovered_share(o, c, u), recovered_share(o, c, rng.normal(0, 0.15, 3))
        assert found.low is not None and found.high is not None and exact.null is not None and exact.value is not None
        covered += found.low <= 0.4 <= found.high
        inside += exact.null.low <= exact.value <= exact.null.high
        n += 1
    assert n == 400
    assert 0.93 <= covered / n <= 0.98
    assert 0.92 <= inside / n <= 0.98


def test_nothing_to_recover_is_undefined() -> None:
    found = recovered_share([0.5, 0.6], [0.55, 0.5], [0.9, 0.95])
    assert found.value is None and "holds 0" in found.reason


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_is_not_finite_stays_undefined(broken: float) -> None:
    for i in range(3):
        sides = [[0.9, 0.88], [0.1, 0.12], [0.3, 0.31]]
        sides[i][0] = broken
        assert "1 of 2" in recovered_share(*sides).reason
    assert "at least 2 unlearned" in recovered_share([0.9, 0.8], [0.1, 0.2], [0.3]).reason
