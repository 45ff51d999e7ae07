"""Centring takes a share 1 / N of the variance, and what it takes is given back."""

from __future__ import annotations

import numpy as np
import pytest

from unweave.audit.attacks.pools import centred, null_level


@pytest.mark.parametrize("models", [2, 4, 9])
def test_a_centred_pool_has_the_variance_around_the_true_mean(models: int) -> None:
    """20,000 examples of variance 4 around 3: the mean square is 4, not 4 (N - 1) / N; each column is unbiased."""
    x = np.random.default_rng(models).normal(3, 2, size=(models, 20_000))
    found = centred(x)
    assert found.mean(axis=0) == pytest.approx(0, abs=1e-12)
    assert (found**2).mean(axis=0) == pytest.approx(x.var(axis=0, ddof=1))
    error = 4 * np.sqrt(2 / (models - 1) / 20_000)  # of the mean of the sample variances
    assert (found**2).mean() == pytest.approx(4, abs=4 * error)
    assert 4 / models > 4 * error, "without the factor it would not be"


def test_the_null_level_is_that_of_pools_with_the_whole_spread() -> None:
    """The mean square of exchanged pools around the true mean: 1, where centring alone leaves 3/4."""
    u, r = np.random.default_rng(0).normal(size=(2, 4, 5000))
    level = null_level(u + 7, r - 7, lambda a, b: float((np.concatenate([a, b]) ** 2).mean()), seed=0, draws=20)
    assert level.value == pytest.approx(1, abs=0.05)
