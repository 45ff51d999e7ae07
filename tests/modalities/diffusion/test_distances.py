from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from unweave.evaluation.metric import UndefinedScore
from unweave.modalities.diffusion.evaluation.distances import Sample, frechet, frechet_score, kid, kid_score


def normal(seed: int, rows: int, columns: int = 5, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (rows, columns))


def sample(seed: int, rows: int, shift: float = 0.0, features: np.ndarray | None = None) -> Sample:
    return Sample(normal(seed, rows, shift=shift) if features is None else features, np.arange(rows) % 3)


def test_golden_values(vectors: Callable[[str], Any]) -> None:
    cases = [case for case in vectors("diffusion")["cases"] if case["kind"] == "distance"]
    assert cases
    for case in cases:
        assert frechet(case["a"], case["b"]) == pytest.approx(case["frechet"], rel=1e-12)
        assert kid(case["a"], case["b"]) == pytest.approx(case["kid"], rel=1e-12)


def test_frechet_of_diagonal_covariances_is_what_the_formula_says() -> None:
    base = normal(0, 400, 3)
    base = (base - base.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(base.T))).T  # covariance exactly 1
    scales, shift = np.array([0.5, 2.0, 3.0]), np.array([1.0, 0.0, -2.0])
    assert frechet(base, base * scales + shift) == pytest.approx((shift**2).sum() + ((scales - 1) ** 2).sum())


def test_frechet_of_fewer_rows_than_features_is_finite_and_a_set_is_at_no_distance_from_itself() -> None:
    few = normal(0, 6, 20)
    assert frechet(few, few) == pytest.approx(0, abs=1e-6)
    assert 0 < frechet(few, normal(1, 6, 20)) < 100


def test_kid_is_unbiased_and_may_be_negative() -> None:
    found = np.array([kid(normal(2 * k, 30), normal(2 * k + 1, 30)) for k in range(200)])
    assert found.min() < 0
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))


def test_both_scores_sit_at_their_null_level_for_real_images_and_above_it_for_others() -> None:
    real, same, other = sample(0, 120), sample(1, 150), sample(2, 150, shift=1.0)
    for form in (frechet_score, kid_score):
        near, far = form(same, real), form(other, real)
        assert near.null is not None
        width = near.null.high - near.null.low
        assert abs(near.value - near.null.value) < width
        assert far.value > near.null.high + width
    found = kid_score(same, real)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_the_interval_of_kid_is_as_wide_as_the_spread_over_samples() -> None:
    scores = [kid_score(sample(2 * k, 100, shift=0.7), sample(2 * k + 1, 100)) for k in range(30)]
    spread = np.std([score.value for score in scores])
    half = np.mean([(score.high - score.low) / 2 for score in scores])  # type: ignore[operator]
    assert 1.2 * spread < half < 4 * spread


def test_the_interval_of_frechet_is_as_wide_as_the_spread_over_samples() -> None:
    scores = [frechet_score(sample(2 * k, 100, shift=0.7), sample(2 * k + 1, 100)) for k in range(30)]
    spread = np.std([score.value for score in scores])
    half = np.mean([(score.high - score.low) / 2 for score in scores])  # type: ignore[operator]
    assert 1.2 * spread < half < 4 * spread
    assert all(0 <= score.low < score.value < score.high for score in scores)  # type: ignore[operator]


def test_frechet_has_the_same_n_on_both_sides_and_in_the_null_level() -> None:
    found = frechet_score(sample(0, 30), sample(1, 200))
    assert found.n == 30
    assert found.null is not None
    assert found.null.how == "30 real images against 30 others, 20 divisions"


def test_units_of_features_do_not_matter_and_a_feature_that_is_always_0_is_no_trouble() -> None:
    drawn, real = normal(0, 60), normal(1, 60)
    drawn[:, 0] = real[:, 0] = 0

    def found(scale: float) -> float:
        return frechet_score(*(sample(0, 60, features=each * scale) for each in (drawn, real))).value

    assert found(7.0) == pytest.approx(found(1.0), rel=1e-9)


def test_parts_of_a_division_have_the_classes_in_their_proportions() -> None:
    labels = np.repeat([0, 1, 2], [30, 60, 10])
    far = normal(0, 100) + 50 * labels[:, None]
    null = frechet_score(Sample(far, labels), Sample(far, labels)).null
    alike = frechet_score(Sample(far, labels), Sample(far, np.zeros(100))).null
    assert null is not None
    assert alike is not None
    assert null.value < 0.5 * alike.value


@pytest.mark.parametrize("form", [frechet_score, kid_score])
def test_too_few_images_or_a_feature_that_is_no_number_give_no_score(form: object) -> None:
    assert callable(form)
    with pytest.raises(UndefinedScore, match="at least 20 drawn features"):
        form(sample(0, 19), sample(1, 60))
    with pytest.raises(UndefinedScore, match="at least 40 real features"):
        form(sample(0, 60), sample(1, 39))
    with pytest.raises(UndefinedScore, match="not finite"):
        form(sample(0, 60, features=np.full((60, 5), np.nan)), sample(1, 60))
