from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from unweave.audit.attacks.crossfit import cross_fit
from unweave.audit.evidence_parts.attacks import roc
from unweave.evaluation.ranking import Ranking


def test_the_curve_is_scikit_learns() -> None:
    rng, cases = np.random.default_rng(0), 0
    for size in (1, 3, 40):
        members, others = rng.integers(0, 9, size) + 1.0, rng.integers(0, 9, 2 * size) * 1.0  # with ties
        label = np.repeat([1, 0], [size, 2 * size])
        fpr, tpr, _ = roc_curve(label, np.concatenate([members, others]), drop_intermediate=False)
        assert np.allclose(roc(Ranking([(members, others)])), np.stack([fpr, tpr], axis=1))
        cases += 1
    assert cases == 3


def test_a_long_curve_keeps_its_ends_and_its_low_false_positives() -> None:
    rng = np.random.default_rng(1)
    curve = np.array(roc(Ranking([(rng.normal(1, 1, 5000), rng.normal(size=5000))])))
    assert len(curve) <= 200 and curve[0].tolist() == [0, 0] and curve[-1].tolist() == [1, 1]
    assert (np.diff(curve, axis=0) >= 0).all() and (curve[:, 0] < 0.001).sum() > 10


def test_folds_are_compared_inside() -> None:
    """A fit's scores have no common scale: the area under the joined curve stays that of the folds."""
    rng = np.random.default_rng(2)
    found = cross_fit(rng.normal(0.8, 1, (200, 3)), rng.normal(size=(200, 3)))
    shifted = Ranking([(m + 100 * i, o + 100 * i) for i, (m, o) in enumerate(found.strata)])
    curve = np.array(roc(shifted))
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(found.area, abs=0.01)
