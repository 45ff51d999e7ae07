"""Eleven faults of published evaluation code: `compat` repeats those that published numbers need.

The table is in docs/how-to-read-the-evidence.md; the numbers of the functions are its rows.
"""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from unweave.audit.attacks import epsilons, forget_against_holdout, klom, lira, modified_entropy
from unweave.evaluation.membership import confidence_attack
from unweave.evaluation.metric import Score, UndefinedScore
from unweave.evaluation.ranking import auc
from unweave.modalities.texts.evaluation.log import Log
from unweave.modalities.texts.evaluation.metrics import log_scores
from unweave.modalities.texts.evaluation.numbers import (
    Compat,
    Tokens,
    arithmetic_truth_ratio,
    extraction_strength,
    forget_quality,
    min_k,
    privleak,
    rouge,
    truth_ratio,
)

PAGE = Path(__file__).parents[2] / "docs" / "how-to-read-the-evidence.md"


def fault_1() -> None:
    """SalUn's modified entropy runs against the definition, and depends on the batch."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(400, 10)), rng.integers(0, 10, 400)
    logits[np.arange(400), labels] += rng.uniform(2, 9, 400)  # right, and more or less sure
    right, released = (modified_entropy(logits, labels, compat=compat) for compat in (None, "salun"))
    assert spearmanr(right, released).statistic < -0.5
    alone = modified_entropy(logits[:1], labels[:1], compat="salun")
    assert abs(float(alone[0] - released[0])) > 0.1
    assert modified_entropy(logits[:1], labels[:1])[0] == pytest.approx(right[0])


def fault_2() -> None:
    """SalUn's attacker learns from the first retain examples: their order decides its score."""
    rng = np.random.default_rng(1)
    forget, members, others = rng.uniform(size=60), np.sort(rng.beta(5, 1, 400)), rng.uniform(size=100)
    both = [confidence_attack(forget, order, others, compat="salun") for order in (members, members[::-1])]
    assert abs(both[0] - both[1]) > 0.1
    ours = [confidence_attack(forget, order, others) for order in (members, members[::-1])]
    assert ours[0] == ours[1]


def fault_3() -> None:
    """DeepMind's scorer asserts an array of several numbers, which raises; its grid is repeated without that line."""
    with pytest.raises(ValueError, match="ambiguous"):
        assert np.array([1.0, 2.0])  # `assert thr_eps`
    rng = np.random.default_rng(2)
    u, r = rng.normal(size=(64, 5)), rng.normal(0.01, 1, (64, 5))
    assert np.isfinite(epsilons(u, r, compat="deepmind")).all()


def fault_4() -> None:
    """data-unlearning-bench drops the largest margin: here the one model that tells the two sides apart."""
    u, r = np.zeros((3, 1)), np.zeros((3, 1))
    u[0] = 1.0
    assert klom(u, r, compat="data-unlearning-bench")[0] < klom(u, r)[0] - 0.5


def fault_5() -> None:
    """LiRA's pooled spread of the OUT models is that of the IN models, of raw values."""
    rng = np.random.default_rng(3)
    member = np.arange(20)[:, None] % 2 == np.arange(40)[None] % 2
    shadows = np.where(member, 4 + 0.1 * rng.normal(size=(20, 40)), 3 * rng.normal(size=(20, 40)))
    target = np.full(40, -8.0)  # 2.7 spreads below OUT, 120 below IN: by IN's spread alone, neither
    right, released = (lira(target, shadows, member, pooled=True, compat=compat) for compat in (None, "lira"))
    assert np.abs(right - released).min() > 1


def fault_6() -> None:
    """GLiR inverts a covariance by a function that wants its Cholesky factor."""
    generator = torch.Generator().manual_seed(4)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    sigma = root @ root.T + torch.eye(6, dtype=torch.float64)
    released, right = torch.cholesky_inverse(sigma), torch.cholesky_inverse(torch.linalg.cholesky(sigma))
    identity = torch.eye(6, dtype=torch.float64)
    assert (sigma @ right - identity).abs().max() < 1e-10 < 0.5 < (sigma @ released - identity).abs().max()


def fault_7() -> None:
    """OpenUnlearning's extraction strength is never 0, and PrivLeak without a reference is against 0.5."""
    nothing = Tokens([-3.0] * 4, [0, 0, 0, 0], [-2.0] * 4, [1.0] * 4, ends=True)
    assert extraction_strength(nothing) == 0 and extraction_strength(nothing, "open-unlearning") == pytest.approx(1 / 3)
    assert privleak(0.3, None, "open-unlearning") == pytest.approx(privleak(0.3, 0.5))
    assert math.isnan(_number(lambda: privleak(0.3, None)))


def fault_8() -> None:
    """MUSE's Min-K takes floor(k L) tokens: none of a short text, whose mean is NaN."""
    short = Tokens([-1.0, -2.0], [0, 0], [-2.0] * 2, [1.0] * 2)
    assert min_k(short, 0.4) == 2.0 and math.isnan(min_k(short, 0.4, "muse"))
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert math.isnan(np.sort(short.logprobs)[: math.floor(0.4 * 2)].mean()), "as its code forms it"


def fault_9() -> None:
    """TOFU's code has a geometric truth ratio, its paper an arithmetic one; and its test reads 300 of 400 examples."""
    loss, wrong = np.array([1.0]), np.array([[0.5, 4.0]])
    assert arithmetic_truth_ratio(loss, wrong)[0] > 2 * truth_ratio(loss, wrong)[0]
    rng = np.random.default_rng(5)
    ratios, retrained = rng.normal(size=400), rng.normal(0.4, 1, 400)

    def quality(compat: Compat) -> Score:
        one, other = ({"forget": {"truth_ratio": dict(enumerate(np.exp(x)))}} for x in (ratios, retrained))
        return log_scores(Log("", one, compat), Log("", other, compat))["forget_quality"]

    ours, theirs = quality(None), quality("tofu")
    assert ours.n == 400 and ours.value == forget_quality(ratios, retrained)
    assert theirs.n == 300 and theirs.value == forget_quality(ratios[:300], retrained[:300])
    assert theirs.value > 5 * ours.value


def fault_10() -> None:
    """rouge-score knows a-z and 0-9: an identical Thai answer scores 0. Here it has no score."""
    pytest.importorskip("rouge_score", reason="rouge-score comes with the language extra")
    from rouge_score.rouge_scorer import RougeScorer

    same = "สวัสดีชาวโลก"
    assert RougeScorer(["rougeL"]).score(same, same)["rougeL"].recall == 0
    with pytest.raises(UndefinedScore, match="has none"):
        rouge(same, same)


def fault_11() -> None:
    """HAMU's trainer makes a NaN score 0 and a failed AUC 0.5: a diverged model looks private. Here it has no score."""
    rng = np.random.default_rng(6)
    broken, others = np.append(rng.normal(2, 1, 39), np.nan), rng.normal(size=40)
    with pytest.raises(UndefinedScore, match="not finite"):
        auc(broken, others)
    found = forget_against_holdout(broken, others).auc
    assert found.value is None and "not finite" in found.reason


FAULTS = [fault_1, fault_2, fault_3, fault_4, fault_5, fault_6, fault_7, fault_8, fault_9, fault_10, fault_11]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_fault_is_one(fault) -> None:  # type: ignore[no-untyped-def]
    fault()


def test_the_page_lists_all_of_them() -> None:
    rows = re.findall(r"^\| (\d+) \| ", PAGE.read_text(encoding="utf-8"), re.M)
    assert [int(row) for row in rows] == list(range(1, 12))


def _number(measure) -> float:  # type: ignore[no-untyped-def]
    try:
        return float(measure())
    except UndefinedScore:
        return math.nan
