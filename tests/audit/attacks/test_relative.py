from __future__ import annotations

import numpy as np
import pytest

from unweave.audit.attacks import rmia
from unweave.audit.attacks.likelihood import tuned
from unweave.errors import ConfigurationError
from unweave.evaluation import UndefinedScore, auc


def test_by_loops() -> None:
    rng = np.random.default_rng(0)
    x, z = rng.random(12), rng.random(15)
    rx, rz = rng.random((3, 12)), rng.random((3, 15))
    for a, gamma in ((0.3, 1.0), (0.0, 1.5), (1.0, 2.0)):
        expected = []
        for i in range(12):
            ratio = x[i] / (((1 + a) * rx[:, i].mean() + 1 - a) / 2)
            others = [z[j] / (((1 + a) * rz[:, j].mean() + 1 - a) / 2) for j in range(15)]
            expected.append(np.mean([ratio / other > gamma for other in others]))
        assert rmia(x, rx, z, rz, a=a, gamma=gamma) == pytest.approx(expected)


def records(seed: int, n: int, gain: float, k: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """p_y of a target, members gaining `gain` in the margin, and of k references that never saw the records."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 2, n)

    def p(margin: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-margin))

    return p(hard + gain + 0.5 * rng.normal(size=n)), p(hard + 0.5 * rng.normal(size=(k, n)))


def test_members_are_found_and_an_exact_method_is_not() -> None:
    out, out_reference = records(0, 400, 0.0)
    population = records(1, 500, 0.0)
    cases = 0
    for gain in (0.0, 1.0):
        target, reference = records(2, 400, gain)
        scores = [rmia(t, r, *population) for t, r in ((target, reference), (out, out_reference))]
        area = auc(*scores)
        assert (area > 0.7) if gain else abs(area - 0.5) < 0.05
        cases += 1
    assert cases == 2
    target, reference = records(2, 400, 1.0)
    assert auc(rmia(target, reference, *population), rmia(out, out_reference, *population)) > auc(target, out)


def test_a_is_tuned_on_reference_models() -> None:
    rng = np.random.default_rng(3)
    member = rng.random((4, 300)) < 0.5
    p = 1 / (1 + np.exp(-(rng.normal(0, 2, 300) + 1.5 * member + 0.3 * rng.normal(size=(4, 300)))))
    assert tuned(p, member, grid=(0.0, 0.5, 1.0)) in (0.5, 1.0)
    with pytest.raises(UndefinedScore, match="at least 2 reference models"):
        tuned(p[:1], member[:1])


def test_bad_settings_and_broken_confidences() -> None:
    x, r = np.full(3, 0.5), np.full((1, 3), 0.5)
    assert (rmia(x, r, x, r) == 0).all(), "equal ratios are not above"
    for settings in ({"a": -0.1}, {"a": 1.1}, {"gamma": 0.9}):
        with pytest.raises(ConfigurationError, match="RMIA needs"):
            rmia(x, r, x, r, **settings)
    with pytest.raises(UndefinedScore, match="1 of 3 queried examples are not finite"):
        rmia([np.nan, 0.5, 0.5], r, x, r)
