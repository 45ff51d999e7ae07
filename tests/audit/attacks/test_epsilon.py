from __future__ import annotations

import math

import numpy as np
import pytest

from unweave.audit.attacks import epsilon_bound
from unweave.errors import ConfigurationError


def test_it_is_a_bound() -> None:
    """Exact method: above 0 in 5 % of experiments at most. 3 standard deviations and 256 runs certify about 2.7."""
    above = 0
    for seed in range(200):
        pool = np.random.default_rng(seed).normal(size=(48, 20))
        above += epsilon_bound(pool[:24], pool[24:], seed=seed).evidence.value > 0  # type: ignore[operator]
    assert above / 200 <= 0.05
    rng = np.random.default_rng(0)
    found = [epsilon_bound(rng.normal(3, 1, 256), rng.normal(size=256), seed=i).evidence.value for i in range(20)]
    assert 2.0 < np.mean(found) < 3.2  # type: ignore[arg-type]


def test_the_ceiling_is_what_perfect_separation_gives() -> None:
    cases = 0
    for m in (8, 25, 128):
        found = epsilon_bound(np.ones(2 * m), np.zeros(2 * m))
        limit = 1 - 0.025 ** (1 / m)
        assert found.evidence.value == pytest.approx(found.ceiling) == pytest.approx(math.log((1 - limit) / limit))
        cases += 1
    assert cases == 3
    assert found.ceiling == pytest.approx(3.5, abs=0.05), "at 128 runs"


def test_many_examples_join() -> None:
    """A small shift in each of 40 examples is a large one in their sum."""
    rng = np.random.default_rng(1)
    u, r = rng.normal(0.8, 1, (64, 40)), rng.normal(size=(64, 40))
    assert epsilon_bound(u, r).evidence.value > 1.5  # type: ignore[operator]
    assert epsilon_bound(u[:, 0], r[:, 0]).evidence.value < 0.5  # type: ignore[operator]


def test_either_direction_and_delta() -> None:
    u, r = np.ones(40), np.zeros(40)
    plain = epsilon_bound(u, r).evidence.value
    assert epsilon_bound(r, u).evidence.value == plain
    assert epsilon_bound(u, r, delta=0.1).evidence.value < plain  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match="probability below 1"):
        epsilon_bound(u, r, delta=1.0)


def test_what_has_no_bound() -> None:
    found = epsilon_bound([1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0])
    assert found.evidence.value is None and "at least 4 unlearned" in found.evidence.reason
    assert "not finite" in epsilon_bound([np.nan, 1, 2, 3], [0.0, 1, 2, 3]).evidence.reason
