from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from unweave.audit.canaries import Plan, draw, epsilon_of, judge, read_scores
from unweave.errors import ConfigurationError

IDS = [f"r{i}" for i in range(100)]


def scored(plan: Plan, shift: float, seed: int) -> dict[str, float]:
    noise = np.random.default_rng(seed).normal(size=len(plan.canaries))
    return dict(zip(plan.canaries, noise + shift * np.array(plan.included), strict=True))


def test_an_exact_method_is_refuted_at_the_level_whatever_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 audits of scores that do not know the coins, correlated and tied: 5 % refuted, epsilon above 0 in fewer."""
    monkeypatch.setattr("unweave.audit.canaries.verdict.DEALS", 499)
    refuted = above = 0
    rng = np.random.default_rng(0)
    group = np.repeat(rng.normal(size=5), 20)  # records come in five families, and scores are rounded
    for seed in range(200):
        plan = draw(IDS, seed=seed)
        values = (group + 0.3 * np.random.default_rng(seed).normal(size=100)).round(1)
        found = judge(plan, dict(zip(IDS, values, strict=True)))
        refuted += found.refuted
        above += found.epsilon.value > 0  # type: ignore[operator]
    assert 0.015 <= refuted / 200 <= 0.09
    assert above / 200 <= 0.05


def test_the_p_value_is_mann_whitneys_exact_one() -> None:
    cases = 0
    for seed in range(12):
        plan = draw(IDS[:24], seed=seed)
        scores = scored(plan, 0.6, seed)
        heads = np.array(plan.included)
        values = np.array(list(scores.values()))
        exact = stats.mannwhitneyu(values[heads], values[~heads], method="exact").pvalue
        assert judge(plan, scores).auc.p == pytest.approx(exact, abs=0.015)
        cases += 1
    assert cases == 12


def test_a_leak_is_found_both_ways() -> None:
    plan = draw(IDS, seed=2)
    known, pushed = judge(plan, scored(plan, 1.5, 0)), judge(plan, scored(plan, -1.5, 0))
    assert known.refuted and "still knows" in known.text and known.auc.p == pytest.approx(1e-4)
    assert pushed.refuted and "pushed away" in pushed.text
    for found in (known, pushed):
        assert 0 < found.epsilon.value < found.ceiling  # type: ignore[operator]
    lower = judge(plan, {name: -score for name, score in scored(plan, 1.5, 0).items()}, lower=True)
    assert lower.auc == known.auc


def test_the_power_is_as_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the AUC that the plan calls detectable, four of five audits find it."""
    plan = draw(IDS, seed=0)
    monkeypatch.setattr("unweave.audit.canaries.verdict.DEALS", 999)
    shift = math.sqrt(2) * stats.norm.ppf(plan.detectable)
    found = sum(judge(draw(IDS, seed=i), scored(draw(IDS, seed=i), shift, i)).refuted for i in range(60))
    assert 0.65 <= found / 60 <= 0.92


def test_hits_by_hand() -> None:
    """Scores that are the coins: all guesses are right that the number of heads allows."""
    plan = draw(IDS, seed=7, guesses=20)
    found = judge(plan, dict(zip(IDS, map(float, plan.included), strict=True)))
    assert found.hits.value == 1.0 and found.auc.value == 1.0
    assert found.hits.p == pytest.approx(2 * 0.5**20)
    assert found.epsilon.value == pytest.approx(found.ceiling)
    q = 0.025 ** (1 / 20)
    assert found.ceiling == pytest.approx(math.log(q / (1 - q)), abs=1e-6)


def test_one_question_gets_one_answer() -> None:
    """Hits that are significant by themselves and an AUC that is not: no trace, and no bound above 0."""
    plan = draw(IDS, seed=0)
    heads, tails = list(plan.forget), [name for name in IDS if name not in plan.forget]
    top = (13 + len(heads)) // 2
    order = heads[top:] + tails[50 - top :] + heads[:top] + tails[: 50 - top]
    found = judge(plan, {name: float(rank) for rank, name in enumerate(order)})
    assert (
        found.hits.value is not None and found.hits.value >= 0.62 and found.hits.p is not None and found.hits.p < 0.05
    )
    assert not found.refuted and found.epsilon.value == 0.0


def test_no_trace_says_what_could_have_been_shown() -> None:
    plan = draw(IDS, seed=3)
    found = judge(plan, scored(plan, 0.0, 11))
    assert not found.refuted and "No trace was found" in found.text and f"{found.ceiling:.2f}" in found.text
    assert found.epsilon.value == 0.0
    json.dumps(found.as_dict(), allow_nan=False)


def test_epsilon_covers_randomised_response() -> None:
    """Guesses right with e^eps / (1 + e^eps) each: the bound is above eps in 5 % at most, and not far below."""
    eps, r = 1.0, 200
    q = math.exp(eps) / (1 + math.exp(eps))
    bounds = np.array([epsilon_of(v, r, r, 0.05) for v in range(r + 1)])
    chance = stats.binom.pmf(np.arange(r + 1), r, q)
    assert 0.03 < chance[bounds > eps].sum() <= 0.05
    assert 0.6 < chance @ bounds < eps


def test_epsilon_by_brute_force() -> None:
    cases = 0
    for v, r, m, delta in ((15, 20, 20, 0.0), (60, 80, 100, 1e-4), (60, 80, 100, 1e-3), (30, 30, 40, 1e-3)):
        eps = epsilon_of(v, r, m, 0.05, delta)
        q = 1 / (1 + math.exp(-eps))
        alpha = total = 0.0
        for i in range(1, v + 1):
            total += stats.binom.pmf(v - i, r, q)
            alpha = max(alpha, total / i)
        assert stats.binom.sf(v - 1, r, q) + 2 * m * delta * alpha == pytest.approx(0.05, abs=1e-6)
        cases += 1
    assert cases == 4
    assert epsilon_of(10, 20, 20, 0.05) == 0.0
    assert epsilon_of(60, 80, 100, 0.05, 1e-3) < epsilon_of(60, 80, 100, 0.05)


def test_monotone_transforms_change_nothing_but_the_scores() -> None:
    plan = draw(IDS, seed=4)
    scores = scored(plan, 0.5, 1)
    one, other = judge(plan, scores), judge(plan, {name: math.exp(score) for name, score in scores.items()})
    assert (one.auc, one.hits, one.epsilon) == (other.auc, other.hits, other.epsilon)


def test_the_order_of_the_scores_is_nothing() -> None:
    plan = draw(IDS, seed=4)
    scores = scored(plan, 0.5, 1)
    assert judge(plan, dict(reversed(scores.items()))).as_dict() == judge(plan, scores).as_dict()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("r3"), "1 canaries have no score, such as 'r3'"),
        (lambda s: s.update(zz=1.0), "1 scores are of no canary, such as 'zz'"),
        (lambda s: s.update(r5=math.nan), "1 of 100 scores are not finite"),
        (lambda s: s.update(r5=math.inf), "1 of 100 scores are not finite"),
        (lambda s: s.update(dict.fromkeys(s, 0.5)), "All scores are equal"),
    ],
)
def test_scores_that_cannot_be_judged(change: object, says: str) -> None:
    plan = draw(IDS, seed=1)
    scores = scored(plan, 0.0, 0)
    change(scores)  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match=says):
        judge(plan, scores)


def test_coins_that_all_fell_alike() -> None:
    plan = Plan(tuple(IDS), (True,) * 100, (), 0, 100, 0.05, 0.0)
    with pytest.raises(ConfigurationError, match="fell alike"):
        judge(plan, scored(plan, 0.0, 0))


def test_scores_from_files(tmp_path: Path) -> None:
    good = {"a.csv": "id,score\nx,1.5\ny,-2\n", "b.json": '{"x": 1.5, "y": -2}'}
    for name, text in good.items():
        (tmp_path / name).write_text(text)
        assert read_scores(tmp_path / name) == {"x": 1.5, "y": -2.0}
    bad = {
        "c.csv": ("x,1\n", "first line must be id,score"),
        "d.csv": ("id,score\nx,much\n", "cannot be read"),
        "e.csv": ("id,score\nx\n", "cannot be read"),
        "f.csv": ("id,score\nx,1\nx,2\n", "1 have more, such as 'x'"),
        "g.json": ('{"x": 1, "x": 2}', "1 have more, such as 'x'"),
        "h.json": ("[1, 2]", "cannot be read"),
        "i.npy": ("", "must end in"),
        "j.csv": ("", "first line must be id,score"),
    }
    for name, (text, says) in bad.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigurationError, match=says):
            read_scores(tmp_path / name)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_scores(tmp_path / "gone.csv")
