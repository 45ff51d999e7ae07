from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from tests.evaluation.conftest import Make
from unweave.evaluation import Outputs, UndefinedScore, auc, confidence_attack, score_outputs, tpr_at_fpr
from unweave.evaluation.membership import confidence_ranking, half_threshold, tail_on_halves
from unweave.evaluation.scores import SHEET


def test_auc_is_sklearns_with_and_without_ties() -> None:
    cases = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        m, o = rng.normal(0.3, 1, 20 + 7 * seed), rng.normal(size=25 + 3 * seed)
        for digits in (0, 1, 8):
            scores = np.concatenate([m.round(digits), o.round(digits)])
            truth = np.repeat([1, 0], [len(m), len(o)])
            assert auc(m.round(digits), o.round(digits)) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
            cases += 1
    assert cases == 60


def test_auc_of_all_ties_and_of_separated_scores() -> None:
    assert auc(np.ones(20), np.ones(33)) == 0.5
    assert auc(np.ones(20), np.zeros(33)) == 1.0
    assert auc(np.zeros(20), np.ones(33)) == 0.0


def test_auc_under_the_null_stays_in_its_range() -> None:
    """Two halves of one distribution: 95 % of the AUCs of 100 against 100 lie in 0.42 to 0.58."""
    areas = []
    for seed in range(300):
        values = np.random.default_rng(seed).exponential(size=200)
        areas.append(auc(values[:100], values[100:]))
    assert abs(np.mean(areas) - 0.5) < 0.01
    assert 0.90 <= np.mean([0.42 < a < 0.58 for a in areas]) <= 0.99


def test_auc_sees_memorised_examples(make: Make) -> None:
    assert auc(make(200, 0, skill=4.0).margin, make(300, 1, skill=1.0).margin) > 0.8


def test_tpr_is_the_best_threshold_by_brute_force() -> None:
    cases = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        digits = (1, 2, 8)[seed % 3]
        m, o = rng.normal(1, 1, 90).round(digits), rng.normal(size=1000 + 37 * seed).round(digits)
        for fpr in (0.01, 0.05, 0.1):
            allowed = [t for t in np.concatenate([m, o, [-np.inf]]) if (o > t).mean() <= fpr]
            assert tpr_at_fpr(m, o, fpr) == max((m > t).mean() for t in allowed)
            cases += 1
    assert cases == 36


def test_tpr_needs_ten_over_alpha_examples() -> None:
    m = np.arange(50.0)
    with pytest.raises(UndefinedScore, match="at least 1000 held-out examples; there are 999"):
        tpr_at_fpr(m, np.arange(999.0))
    assert tpr_at_fpr(m, np.arange(1000.0) - 2000) == 1.0
    assert tpr_at_fpr(m, np.arange(100.0) - 200, fpr=0.1) == 1.0


def test_the_tail_is_checked_on_examples_that_did_not_set_its_threshold() -> None:
    """200 draws: the interval of the checking half covers what the threshold lets through in the long run in 95 %.

    The examples that set a threshold have 1 % of them above it, whatever it lets through.
    """
    covered, shares, n = 0, set(), 200
    for seed in range(n):
        rng = np.random.default_rng(seed)
        m, o = rng.normal(1, 1, 40), np.sort(rng.normal(size=1000))
        threshold, rest = half_threshold(o, 0.01, seed=seed)
        first = np.setdiff1d(o, rest)
        assert (len(first), len(rest), (first > threshold).sum()) == (500, 500, 5)
        tpr, fpr = tail_on_halves(m, o, seed=seed)
        assert (tpr.n, tpr.value) == (40, (m > threshold).mean())
        assert (fpr.n, fpr.value) == (500, (rest > threshold).mean())
        assert fpr.low is not None and fpr.high is not None
        covered += fpr.low <= norm.sf(threshold) <= fpr.high
        shares.add(fpr.value)
    assert len(shares) > 8 and 0.92 <= covered / n <= 1


def test_the_sheet_sets_its_threshold_on_one_half(make: Make) -> None:
    forget, test = make(60, 0, skill=3.0), make(1000, 1)
    sheet = score_outputs(forget, make(100, 2), test, seed=5)
    for name, side in zip(("MIA_TPR", "MIA_FPR"), tail_on_halves(forget.margin, test.margin, seed=5), strict=True):
        same = all(getattr(side, field) == getattr(sheet[name], field) for field in ("value", "low", "high", "n"))
        assert same and "half of the unseen" in sheet[name].definition
    assert (sheet["MIA_TPR"].n, sheet["MIA_FPR"].n) == (60, 500)


def test_confidence_attack_is_the_plain_recipe_on_balanced_sets() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        f, m, o = rng.beta(3, 1, 90), rng.beta(6, 1, 150), rng.beta(2, 1, 150)
        attacker = SVC(C=3, gamma="auto", kernel="rbf")
        attacker.fit(np.concatenate([m, o])[:, None], np.concatenate([np.ones(150), np.zeros(150)]))
        expected = 1 - attacker.predict(f[:, None]).mean()
        assert confidence_attack(f, m, o, seed=seed) == pytest.approx(expected, abs=0.012)


def test_confidence_attack_as_published_takes_the_first_retain_examples() -> None:
    """Retain examples in an order of their own: the published sample is another, unbalanced where they are few."""
    rng = np.random.default_rng(1)
    f, m, o = rng.beta(2, 1, 60), np.sort(rng.beta(4, 1, 400)), rng.beta(2, 1, 150)
    for known in (m, m[:100]):
        first = known[:150]
        attacker = SVC(C=3, gamma="auto").fit(np.concatenate([first, o])[:, None], np.repeat([1, 0], [len(first), 150]))
        expected = (attacker.predict(f[:, None]) == 0).mean()
        assert confidence_attack(f, known, o, compat="salun") == pytest.approx(expected, abs=1e-12)
    assert abs(confidence_attack(f, m, o, compat="salun") - confidence_attack(f, m, o)) > 0.05


def test_confidence_attack_balances_members_and_others() -> None:
    """Trained on all of both, the attacker would call nearly everything by the larger class."""
    rng = np.random.default_rng(0)
    f, m, o = rng.beta(2, 1, 200), rng.beta(8, 1, 3000), rng.beta(2, 1, 150)
    unbalanced = SVC(C=3, gamma="auto").fit(np.concatenate([m, o])[:, None], np.repeat([1, 0], [3000, 150]))
    assert (unbalanced.predict(f[:, None]) == 0).mean() < confidence_attack(f, m, o) - 0.2


def test_confidence_attack_tells_the_two_ends_apart() -> None:
    rng = np.random.default_rng(0)
    m, o = rng.uniform(0.95, 1, 400), rng.uniform(0.1, 0.8, 300)
    assert confidence_attack(rng.uniform(0.96, 1, 50), m, o) == 0.0
    assert confidence_attack(rng.uniform(0.1, 0.7, 50), m, o) == 1.0


def test_attacks_ignore_the_order_of_the_examples() -> None:
    rng = np.random.default_rng(3)
    f, m, o = rng.beta(3, 1, 90), rng.beta(6, 1, 400), rng.beta(2, 1, 1200)
    shuffled = [rng.permutation(x) for x in (f, m, o)]
    assert confidence_attack(*shuffled, seed=1) == confidence_attack(f, m, o, seed=1)
    assert auc(shuffled[0], shuffled[2]) == auc(f, o)
    assert tpr_at_fpr(shuffled[0], shuffled[2]) == tpr_at_fpr(f, o)


def test_rank_attacks_ignore_monotone_transforms() -> None:
    rng = np.random.default_rng(4)
    m, o = rng.normal(0.5, 1, 60), rng.normal(size=1000)
    assert auc(np.exp(m), np.exp(o)) == auc(m, o)
    assert tpr_at_fpr(np.exp(m), np.exp(o)) == tpr_at_fpr(m, o)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_outputs_that_are_not_finite_never_become_a_number(broken: float) -> None:
    good, bad = np.linspace(0, 1, 1000), np.linspace(0, 1, 1000)
    bad[5] = broken
    attacks = [lambda: auc(bad, good), lambda: auc(good, bad), lambda: tpr_at_fpr(bad, good)]
    attacks += [lambda: confidence_attack(good, bad, good), lambda: confidence_attack(bad, good, good)]
    for attack in attacks:
        with pytest.raises(UndefinedScore, match=r"1 of 1000 .* outputs are not finite: the model diverged"):
            attack()


def test_fewer_than_twenty_are_refused() -> None:
    few, many = np.arange(19.0), np.arange(1000.0)
    with pytest.raises(UndefinedScore, match="at least 20 forget examples; there are 19"):
        auc(few, many)
    with pytest.raises(UndefinedScore, match="at least 20 held-out examples"):
        auc(many, few)
    with pytest.raises(UndefinedScore, match="at least 20 retain examples"):
        confidence_attack(many, few, many)
    assert auc(np.arange(20.0), many) < 0.1


def test_constant_confidence_gives_an_answer_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert confidence_attack(np.ones(25), np.ones(30), np.ones(40)) in (0.0, 1.0)


def test_a_class_request_is_attacked_with_the_test_examples_of_that_class(make: Make) -> None:
    """Forget and test examples of class 0 look alike, the others do not: the AUC is that of class 0."""
    forget = make(60, 0, skill=0.0, labels=torch.zeros(60, dtype=torch.long))
    retain = make(300, 1, skill=5.0, labels=torch.arange(300) % 3 + 1)
    own = make(50, 2, skill=0.0, labels=torch.zeros(50, dtype=torch.long))
    other = make(200, 3, skill=5.0, labels=torch.arange(200) % 3 + 1)
    test = Outputs(torch.cat([own.logits, other.logits]), torch.cat([own.labels, other.labels]))
    sheet = score_outputs(forget, retain, test)
    assert sheet["MIA_AUC"].value == auc(forget.margin, own.margin)
    assert sheet["MIA_AUC"].n == 110 and "of its class" in SHEET["MIA_AUC"].needs
    attack = confidence_attack(forget.confidence, retain.confidence, other.confidence)
    assert sheet["MIA_confidence"].value == attack > 0.8
    sides = confidence_ranking(forget.confidence, retain.confidence, other.confidence, own.confidence)
    assert sheet["MIA_confidence_AUC"].value == auc(*sides) and sheet["MIA_confidence_AUC"].n == 110
    assert sheet["MIA_confidence_TPR"].value is None, "50 unseen examples are too few"


def test_the_attacker_learns_from_a_bounded_balanced_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, fit = [], SVC.fit

    def spy(self: SVC, x: np.ndarray, y: np.ndarray) -> SVC:
        seen.append((len(x), int(y.sum())))
        return fit(self, x, y)

    monkeypatch.setattr(SVC, "fit", spy)
    monkeypatch.setattr("unweave.evaluation.membership.ATTACKER_EXAMPLES", 50)
    rng = np.random.default_rng(0)
    for members, others in ((400, 300), (40, 300), (400, 30)):
        confidence_attack(rng.random(25), rng.random(members), rng.random(others))
    assert seen == [(100, 50), (80, 40), (60, 30)]


def test_the_ranking_of_the_confidence_attack_is_the_machine_s_decision_value() -> None:
    """The attacker sees one half of the others and is read on the other; its boundary is that of its decisions."""
    rng = np.random.default_rng(2)
    m, o, f = 1 - rng.beta(1, 12, 900), 1 - rng.beta(1, 3, 2400), 1 - rng.beta(1, 12, 300)
    scores, unseen = confidence_ranking(f, m, o, seed=4)
    assert (len(scores), len(unseen)) == (300, 1200)
    mixed = np.random.default_rng([4, 1]).permutation(np.sort(o))
    again = confidence_ranking(f, m, mixed[:1200], mixed[1200:], seed=4)
    assert all(np.array_equal(a, b) for a, b in zip((scores, unseen), again, strict=True))
    assert (scores < 0).mean() == pytest.approx(confidence_attack(f, m, mixed[:1200], seed=4), abs=1e-12)
    assert 0.6 < auc(scores, unseen) < 0.95, "members of another draw rank higher"
    never = confidence_ranking(1 - rng.beta(1, 3, 300), m, o, seed=4)
    assert abs(auc(*never) - 0.5) < 0.06, "examples like the unseen ones do not"


def test_the_sheet_has_the_ranking_as_auc_and_tail(make: Make) -> None:
    forget, retain, test = make(60, 0, skill=3.0), make(400, 2, skill=3.0), make(2400, 1)
    sheet = score_outputs(forget, retain, test, seed=5)
    sides = confidence_ranking(forget.confidence, retain.confidence, test.confidence, seed=5)
    assert sheet["MIA_confidence_AUC"].value == auc(*sides)
    assert sheet["MIA_confidence_TPR"].value == tail_on_halves(*sides, seed=5)[0].value
    assert sheet["MIA_confidence_AUC"].n == 60 + 1200 and sheet["MIA_confidence_AUC"].low is not None
    assert "not trained on" in sheet["MIA_confidence_TPR"].definition


def test_a_share_that_ten_is_no_multiple_of_needs_the_next_whole_number() -> None:
    """`10 / 0.03 = 333.3`."""
    m = np.arange(50.0)
    for attack in (tpr_at_fpr, tail_on_halves):
        with pytest.raises(UndefinedScore, match="at least 334 held-out examples; there are 333"):
            attack(m, np.arange(333.0), 0.03)
        attack(m, np.arange(334.0), 0.03)


def test_nobody_is_above_what_all_have() -> None:
    """Scores without any information, such as a constant model's."""
    tpr, fpr = tail_on_halves(np.ones(50), np.ones(1000))
    assert (tpr.value, fpr.value) == (0.0, 0.0) == (tpr_at_fpr(np.ones(50), np.ones(1000)),) * 2


def test_others_that_are_halved_are_forty_at_least() -> None:
    many = np.linspace(0.0, 1.0, 100)
    with pytest.raises(UndefinedScore, match="at least 40 held-out examples; there are 39"):
        confidence_ranking(many, many, many[:39])
    assert [len(side) for side in confidence_ranking(many, many, many[:40])] == [100, 20]
    assert [len(side) for side in confidence_ranking(many, many, many[:20], many[:20])] == [100, 20]
