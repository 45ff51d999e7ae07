"""Each formula by hand, at its limits, and where open-unlearning's differs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unweave.evaluation.metric import Metric, UndefinedScore
from unweave.modalities.texts.evaluation import numbers as of
from unweave.modalities.texts.evaluation.log import Log
from unweave.modalities.texts.evaluation.metrics import ROWS, SETS, SHEET, log_scores
from unweave.modalities.texts.evaluation.numbers import (
    ATTACKS,
    Tokens,
    arithmetic_truth_ratio,
    attack_auc,
    cut,
    forget_quality,
    indistinguishable,
    ks_distance,
    model_utility,
    muse_stops,
    option_probability,
    privleak,
    rouge,
    true_better,
    true_share,
    truth_ratio,
)
from unweave.modalities.texts.evaluation.stored import stored

THEIRS = "open-unlearning"


def answer(hits: str, *, ends: bool = False) -> Tokens:
    """Hits as text: 1 or 0 per token, of probability 1/2 or 1/4."""
    logs = [math.log(1 / 2 if h == "1" else 1 / 4) for h in hits]
    return Tokens(logs, [int(h) for h in hits], [-2.0] * len(hits), [4.0] * len(hits), ends)


@pytest.mark.parametrize(
    ("hits", "ours", "theirs"),
    [("1111", 1, 1), ("0111", 0.75, 0.75), ("1011", 0.5, 0.5), ("0001", 0.25, 0.25), ("1110", 0, 0.25), ("0", 0, 1)],
)  # fmt: skip
def test_extraction_strength(hits: str, ours: float, theirs: float) -> None:
    """Theirs cannot tell "nothing" from "the last token only"; a single missed token even counts as extracted."""
    ended = answer(hits + "0", ends=True)  # a missed end of text is not held against the answer
    assert of.extraction_strength(answer(hits)) == of.extraction_strength(ended) == ours
    assert of.extraction_strength(ended, THEIRS) == pytest.approx(theirs)


def test_token_metrics_by_hand() -> None:
    t = answer("1101", ends=True)
    assert of.loss(t) == pytest.approx((3 * math.log(2) + math.log(4)) / 4)  # the end counts
    assert of.probability(of.loss(t)) == pytest.approx((1 / 2 * 1 / 2 * 1 / 4 * 1 / 2) ** (1 / 4))
    assert of.exact_memorisation(t) == pytest.approx(2 / 3) and of.exact_memorisation(answer("1101")) == 3 / 4
    assert of.exact_memorisation(answer("1101"), THEIRS) == pytest.approx(2 / 3)  # their last token is never scored
    assert of.min_k(t) == pytest.approx(math.log(4))  # floor(0.4 * 3) = 1 token
    assert of.min_k(t, share=0.7) == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert of.min_k(t, share=0.1) == of.min_k(t)  # one token at least
    assert of.min_k_plus_plus(t) == pytest.approx((math.log(4) - 2) / 2)
    certain = Tokens([0.0], [1], [0.0], [0.0])
    assert of.min_k_plus_plus(certain) == 0  # the variance is 1e-6 at least
    assert of.compressed("aaaaaaaaaa" * 9) < 20


def test_an_answer_of_nothing_but_its_end() -> None:
    lone = answer("0", ends=True)
    functions = (of.exact_memorisation, of.extraction_strength, of.min_k, of.min_k_plus_plus)
    assert all(math.isnan(f(lone)) for f in functions) and of.loss(lone) > 0
    assert [f(lone, compat=THEIRS) for f in functions[1:]] == [0, 0, 0]
    line = {"set": "forget", "family": "forced", "index": 0, "bytes": 9, "paraphrased": [], "perturbed": []}
    values = {"logprobs": [-1.0], "hits": [0], "means": [-1.0], "variances": [1.0], "ends": True}
    log = stored([{**line, **values, "perturbed_tokens": []}], "")
    assert set(log.values["forget"]) == {"loss", "prob", "nll", "mia_loss", "mia_zlib"}


def test_truth_ratio_by_hand() -> None:
    correct, wrong = [1.0, 2.0], [[1.0, 3.0], [2.0, 2.0]]
    ratio = truth_ratio(correct, wrong)
    np.testing.assert_allclose(ratio, [math.exp(-1), 1])
    np.testing.assert_allclose(arithmetic_truth_ratio(correct, wrong), [(1 + math.exp(-2)) / 2, 1])
    np.testing.assert_allclose(indistinguishable(np.array([0.5, 1, 4])), [0.5, 1, 0.25])
    np.testing.assert_allclose(true_better(np.array([0.25, 1, 4])), [0.75, 0, 0])
    np.testing.assert_allclose(true_share(np.array([0.0, 1, 3])), [1, 0.5, 0.25])
    assert indistinguishable(np.array([0.0]))[0] == 0


def test_a_truth_ratio_of_improbable_answers() -> None:
    """30 nats per token on both sides: equally likely. Their denominator calls the truth 1,000 times likelier."""
    assert truth_ratio([30.0], [[30.0]])[0] == 1
    assert truth_ratio([30.0], [[30.0]], THEIRS)[0] == pytest.approx(1e-3, rel=0.1)
    assert truth_ratio([800.0], [[799.0]])[0] == pytest.approx(math.e)  # no overflow on the way


def test_options_utility_and_quality() -> None:
    assert option_probability([0.2], [[0.1, 0.1]])[0] == pytest.approx(0.5)
    assert option_probability([1e-12], [[1e-12]], THEIRS)[0] < 0.01 < option_probability([1e-12], [[1e-12]])[0]
    assert model_utility([0.5, 1, 1]) == pytest.approx(3 / 4) and model_utility([0, 1]) == 0
    for broken in ([], [0.5, math.nan], [-1.0]):
        with pytest.raises(UndefinedScore, match="finite terms"):
            model_utility(broken)
    one = np.linspace(0, 1, 40)
    assert forget_quality(one, one) == 1 and ks_distance(one, one) == 0
    assert forget_quality(one, one + 5) < 1e-20 and ks_distance(one, one + 5) == 1
    with pytest.raises(UndefinedScore, match="the retrained model's"):
        forget_quality(one, [])


def test_forget_quality_of_an_exact_method_is_uniform() -> None:
    """Its null: two samples of one distribution give p-values whose quantiles are those of [0, 1]."""
    random = np.random.default_rng(0)
    p = [forget_quality(*random.lognormal(size=(2, 40))) for _ in range(200)]
    assert 0.35 < float(np.median(p)) < 0.75 and sum(x < 0.05 for x in p) <= 16


def test_attacks_and_privleak() -> None:
    low, high = np.linspace(0, 1, 20), np.linspace(2, 3, 20)
    assert attack_auc(low, high) == 1 and attack_auc(high, low) == 0 and attack_auc(low, low) == 0.5
    assert privleak(1.0, 0.4) == pytest.approx(-100) and privleak(0.4, 0.4) == 0
    assert privleak(0.1, 0.4) == pytest.approx(50) and privleak(0.3, None, THEIRS) == pytest.approx(40)
    with pytest.raises(UndefinedScore, match="retrained model"):
        privleak(0.3, None)
    with pytest.raises(UndefinedScore, match="nothing to compare"):
        privleak(0.3, 1.0)
    with pytest.raises(UndefinedScore, match="at least 20 forget examples; there are 19"):
        attack_auc(low[:19], high)
    with pytest.raises(UndefinedScore, match="at least 20 held-out examples; there are 18"):
        attack_auc(low, high[:18])


def test_rouge_and_where_texts_are_cut() -> None:
    scores = rouge("the cat sat on the mat", "the cat is on a mat")
    assert scores["rougeL_recall"] == pytest.approx(4 / 6) and scores["rougeL_f1"] == pytest.approx(4 / 6)
    assert rouge("running", "runs")["rougeL_recall"] == 1 and rouge("running", "runs", stemmer=False)["rougeL_f1"] == 0
    with pytest.raises(UndefinedScore, match="has none"):
        rouge("Привет", "Привет")  # rouge-score would say 0
    assert cut(" one\n\ntwo", ("\n\n",)) == "one" and cut("a. question: b", muse_stops()) == "a."


def test_muse_has_no_stemmer_but_in_their_code() -> None:
    line = {"set": "forget_verbmem", "family": "generated", "index": 0, "stemmer": False, "truth": "running"}
    lines = [{**line, "generation": "runs", "rouge1_recall": 0.0, "rougeL_recall": 0.0, "rougeL_f1": 0.0}]
    found = [log_scores(stored(lines, "", compat))["verbmem"].value for compat in (None, THEIRS)]
    assert found == [0, 1]


def test_scores_that_compare_sets() -> None:
    column = {i: 0.25 * (i % 2) for i in range(20)}
    later = dict.fromkeys(range(5, 20), 0.5)
    values = {
        "forget": {"prob": column, "rougeL_recall": column, "mia_loss": dict.fromkeys(range(20), 2.0)},
        "forget_relearned": {"prob": later},
        "forget_paraphrased": {"rougeL_recall": {i: 0.25 - v for i, v in column.items()}},
        "holdout": {"mia_loss": {i: 2.0 + i for i in range(20)}},
    }
    reference = {
        "forget": {"mia_loss": dict.fromkeys(range(20), 3.0)},
        "holdout": {"mia_loss": {i: 2.0 + i for i in range(20)}},
    }
    scores = log_scores(Log("a", values), Log("b", reference))
    gain = 0.5 - sum(column[i] for i in later) / 15
    assert scores["relearned_gain"].value == pytest.approx(gain) and scores["relearned_gain"].n == 15
    assert scores["any_prompt_rouge"].value == 0.25
    assert scores["mia_reference"].value == 1  # forget texts became likelier than under the reference, others did not
    assert scores["mia_loss"].value == pytest.approx(19.5 / 20)


def test_every_metric_says_what_it_is() -> None:
    """The same object as everywhere in evaluation, with every field that a reader needs."""
    assert len(ROWS) == len(SHEET)
    for name, m in SHEET.items():
        said = (m.definition, m.unit, m.right, m.replicate, m.needs, m.undefined_when, m.exact)
        assert isinstance(m, Metric) and m.name == name and all(said), name
        assert m.unit in ("share", "points", "p-value") and m.right in ("higher", "lower", "as null")
        assert m.limits[0] < m.limits[1] and (m.limits == (0, 1)) == (name not in ("privleak", "relearned_gain"))
        generated = "rouge" in name or name.startswith(("verbmem", "knowmem")) or name == "choice_accuracy"
        assert m.replicate == ("prompt" if generated else "example"), name
    assert SHEET["forget_rouge"].needs != SHEET["retain_rouge"].needs, "each names its own set"


def test_scores_stay_in_their_range() -> None:
    """Every row, on random values of every column, for a model and for one that is worse than the retrained one."""
    rng = np.random.default_rng(0)

    def log(name: str, shift: float) -> Log:
        columns = {c: dict(enumerate(rng.uniform(size=40))) for c in ("prob", "extraction", "exact", "loss", "nll")}
        columns |= {c: dict(enumerate(rng.uniform(size=40))) for c in ("rougeL_recall", "rougeL_f1")}
        columns |= {f"mia_{a}": dict(enumerate(rng.normal(shift, size=40))) for a in ATTACKS}
        columns |= {"paraphrased_loss": dict(enumerate(rng.exponential(size=40)))}
        wrong = {
            c: {i: rng.exponential(size=3).tolist() for i in range(40)} for c in ("perturbed_loss", "perturbed_nll")
        }
        wrong["perturbed_prob"] = {i: rng.uniform(size=3).tolist() for i in range(40)}
        sets = {*SETS, "holdout", "choices"}
        return Log(name, {group: {**columns, **wrong} for group in sets})

    for shift in (-2.0, 0.0, 2.0):
        scores = log_scores(log("model", shift), log("retrained", 0.0))
        assert list(scores) == list(SHEET)
        for name, score in scores.items():
            low, high = SHEET[name].limits
            assert score.value is not None and low <= score.value <= high, name
            assert score.definition == SHEET[name].definition and score.unit == SHEET[name].unit


def test_the_intervals_of_numbers_that_are_made_of_others() -> None:
    """PrivLeak's ends are those of its AUC; the utility of nine equal terms has the interval of one of them."""
    rng = np.random.default_rng(0)
    attacked = {"mia_min_k": dict(enumerate(rng.normal(size=40)))}
    log = Log("model", {"forget": attacked, "holdout": {"mia_min_k": dict(enumerate(rng.normal(0.5, size=40)))}})
    other = Log("retrained", {"forget": attacked, "holdout": attacked})  # an AUC of 1/2
    scores = log_scores(log, other)
    area, leak = scores["mia_min_k"], scores["privleak"]
    assert None not in (area.low, area.high, leak.low, leak.high)
    ends = [100 - 200 * end for end in (area.high, area.low)]  # type: ignore[operator]
    assert [leak.low, leak.high] == pytest.approx(ends)
    same = dict(enumerate(np.linspace(0.2, 0.8, 50)))
    kept = {
        "prob": same,
        "option_prob": same,
        "rougeL_recall": same,
        "truth_ratio": {i: 1 - x for i, x in same.items()},
    }
    found = log_scores(Log("model", {"retain": kept, "real_authors": kept, "world_facts": kept}))
    one, whole = found["retain_rouge"], found["model_utility"]
    assert whole.value == pytest.approx(0.5) and whole.n == 50
    width, narrow = one.high - one.low, whole.high - whole.low  # type: ignore[operator]
    assert 0.4 * width < narrow < 0.75 * width, "three independent sets: about 1 / sqrt(3) of one's, 0.58"
