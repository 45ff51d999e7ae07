from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from unweave.audit.attacks import blind_baseline, crossfit, forget_against_holdout, on_triple, population
from unweave.audit.attacks.population import ranking
from unweave.evaluation import auc
from unweave.evaluation.ranking import Ranking


def test_an_exact_method_passes_at_its_level() -> None:
    """Forget and holdout from one distribution, one signal."""
    wrong = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        found = forget_against_holdout(rng.exponential(size=40), rng.exponential(size=60))
        wrong += found.auc.p is not None and found.auc.p <= 0.05
    assert 0.02 <= wrong / 300 <= 0.08


def test_several_signals_that_are_noise_pass_at_their_level_and_the_textbook_error_would_not() -> None:
    """Six signals, 60 examples a side, 60 draws: shuffled labels call 4 significant, Mann and Whitney's error 13."""
    shuffled = textbook = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = ranking(rng.exponential(size=(60, 6)), rng.exponential(size=(60, 6)), seed=seed)
        shuffled += found.p <= 0.05
        textbook += Ranking(found.strata).p <= 0.05
    assert shuffled <= 7 and textbook >= 9


def test_the_interval_knows_that_the_scores_were_fitted() -> None:
    """Noise signals: the spread of the cross-fitted AUC is wider than Mann-Whitney's, and the null level knows."""
    rng = np.random.default_rng(0)
    found = ranking(rng.normal(size=(40, 5)), rng.normal(size=(40, 5)))
    assert found.inflation > 1.3
    assert found.null.high - found.null.low > 1.1 * (Ranking(found.strata).null.high - Ranking(found.strata).null.low)


def test_the_joined_attack_is_as_good_as_logistic_regression() -> None:
    """Eight signals, 400 against 500: its AUC is that of a full fit on fresh examples, and 1/2 on noise."""
    rng = np.random.default_rng(1)
    f, h = rng.normal(0.25, 1, (400, 8)), rng.normal(size=(500, 8))
    full = LogisticRegression().fit(np.concatenate([f, h]), np.repeat([1, 0], [400, 500]))
    fresh = [full.decision_function(rng.normal(shift, 1, (4000, 8))) for shift in (0.25, 0.0)]
    found = forget_against_holdout(f, h).auc
    assert found.value == pytest.approx(auc(*fresh), abs=0.04)
    assert found.low is not None and found.high is not None and found.low <= auc(*fresh) <= found.high


def test_more_signals_than_examples() -> None:
    rng = np.random.default_rng(2)
    f, h = rng.normal(size=(30, 100)), rng.normal(size=(30, 100))
    f[:, 0] += 6
    found = forget_against_holdout(f, h).auc
    assert found.value is not None and found.value > 0.7 and found.p == pytest.approx(0.001)


def test_the_tail_of_an_exact_method() -> None:
    """The null is beta-binomial, whatever the distribution: 5 % of the shares are significant at most."""
    significant, shares, n = 0, [], 150
    for seed in range(n):
        rng = np.random.default_rng(seed)
        tail = forget_against_holdout(rng.exponential(size=200), rng.exponential(size=1000), seed=seed).tails[0]
        assert tail.tpr.value is not None and tail.tpr.p is not None and tail.tpr.null is not None
        significant += tail.tpr.p <= 0.05
        shares.append(tail.tpr.value)
    assert significant / n <= 0.08
    assert tail.tpr.null.value == pytest.approx(6 / 501) and np.mean(shares) == pytest.approx(6 / 501, abs=0.002)
    assert tail.fpr.value is not None and tail.fpr.value < 0.03


def test_the_joined_attacks_tail_compares_inside_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds of any scale and centre of their own: AUC and tails stay; raw scores would take the widest fold's tail."""
    rng = np.random.default_rng(7)
    f, h = rng.normal(0.9, 1, (200, 4)), rng.normal(size=(1000, 4))
    before, fit = forget_against_holdout(f, h), population.cross_fit

    def scaled(members: np.ndarray, others: np.ndarray, *, folds: int, seed: int) -> Ranking:
        found = fit(members, others, folds=folds, seed=seed)
        return Ranking([(8.0**i * m + i, 8.0**i * o + i) for i, (m, o) in enumerate(found.strata)], found.shuffled)

    monkeypatch.setattr(population, "cross_fit", scaled)
    after = forget_against_holdout(f, h)
    assert after.auc.value == pytest.approx(before.auc.value) and after.tails == before.tails
    raw = forget_against_holdout(
        *(np.concatenate(side) for side in zip(*scaled(f, h, folds=5, seed=0).strata, strict=True))
    )
    assert raw.tails[0].tpr.value is not None and before.tails[0].tpr.value is not None
    assert raw.tails[0].tpr.value < before.tails[0].tpr.value / 1.5


def test_the_joined_attacks_tail_of_an_exact_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven signals that are noise: mean and level are the null's, 6 of 501; of raw scores the mean is 0.0098."""
    monkeypatch.setattr(crossfit, "SHUFFLES", 1)
    significant, shares, n = 0, [], 200
    for seed in range(n):
        rng = np.random.default_rng(seed)
        found = forget_against_holdout(rng.normal(size=(200, 7)), rng.normal(size=(1000, 7)), fpr=(0.01,), seed=seed)
        (tail,) = found.tails
        assert tail.tpr.value is not None and tail.tpr.p is not None
        significant += tail.tpr.p <= 0.05
        shares.append(tail.tpr.value)
    assert np.mean(shares) == pytest.approx(6 / 501, abs=0.001) and significant / n <= 0.08


def test_tails_only_where_the_holdout_allows_them() -> None:
    rng = np.random.default_rng(3)
    one, thousandth = forget_against_holdout(rng.normal(9, 1, 50), rng.normal(size=1000)).tails
    assert one.tpr.value == 1.0 and one.tpr.high == 1.0
    assert thousandth.tpr.value is None and "at least 10000 holdout examples; there are 1000" in thousandth.tpr.reason
    few = forget_against_holdout(rng.normal(size=50), rng.normal(size=999)).tails[0]
    assert few.tpr.value is None and few.fpr.value is None


def test_the_triple_is_read_against_the_retrained_model() -> None:
    """Forget and holdout differ by themselves; the original adds memory, the unlearned model does not."""
    rng = np.random.default_rng(4)
    base_f, base_h = rng.normal(0.8, 1, 300), rng.normal(size=400)

    def model(memory: float) -> tuple[np.ndarray, np.ndarray]:
        return base_f + memory + 0.3 * rng.normal(size=300), base_h + 0.3 * rng.normal(size=400)

    exact = on_triple({"original": model(1.0), "retrained": model(0.0), "unlearned": model(0.0)})
    assert list(exact.attacks) == ["original", "retrained", "unlearned"]
    assert exact.attacks["unlearned"].auc.p is not None and exact.attacks["unlearned"].auc.p < 0.001
    assert exact.above_retrained.p is not None and exact.above_retrained.p > 0.01
    leaking = on_triple({"original": model(1.0), "retrained": model(0.0), "unlearned": model(0.5)}).above_retrained
    assert leaking.value is not None and leaking.value > 0.05 and leaking.p is not None and leaking.p < 0.001
    other = on_triple({"original": model(1.0), "retrained": model(0.0), "unlearned": (base_f[:200], base_h)})
    assert "not asked about the same examples" in other.above_retrained.reason


def test_the_difference_errs_at_its_level() -> None:
    wrong = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        f, h = rng.normal(0.5, 1, 60), rng.normal(size=80)
        pair = [(f + rng.normal(size=60), h + rng.normal(size=80)) for _ in range(3)]
        found = on_triple(dict(zip(("original", "retrained", "unlearned"), pair, strict=True))).above_retrained
        assert found.p is not None
        wrong += found.p <= 0.05
    assert 0.02 <= wrong / 200 <= 0.09


def test_the_blind_baseline() -> None:
    rng = np.random.default_rng(5)
    images = rng.random((80, 3, 4, 4))
    same, brighter = blind_baseline(images[:40], images[40:]), blind_baseline(images[:40] + 0.3, images[40:])
    assert same.exchangeable is True and "can be read as it is" in same.text
    assert brighter.exchangeable is False and "not exchangeable" in brighter.text
    assert same.evidence.sizes == {"forget examples": 40, "holdout examples": 40, "features": 48}
    few = blind_baseline(images[:10], images[40:])
    assert few.exchangeable is None and "at least 20 forget examples" in few.text


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_is_not_finite_stays_undefined(broken: float) -> None:
    good, bad = np.linspace(0, 1, 50), np.linspace(0, 1, 50)
    bad[3] = broken
    for pair in ((good, bad), (bad, good)):
        found = forget_against_holdout(*pair)
        assert found.auc.value is None and "1 of 50" in found.auc.reason and found.tails == ()
        both = np.stack(pair, axis=1)
        assert forget_against_holdout(both, both).auc.value is None


def test_monotone_transforms_change_nothing() -> None:
    rng = np.random.default_rng(6)
    f, h = rng.normal(0.5, 1, 50), rng.normal(size=1000)
    one, other = forget_against_holdout(f, h), forget_against_holdout(np.exp(f), np.exp(h))
    assert one == other
    assert stats.norm.cdf(0.5 / np.sqrt(2)) == pytest.approx(one.auc.value, abs=0.1)
