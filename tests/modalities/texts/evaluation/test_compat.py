"""What the code of TOFU and of MUSE does differently, by hand; of open-unlearning see test_metrics, test_published."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from unweave.errors import UnweaveError
from unweave.evaluation.metric import UndefinedScore
from unweave.modalities import read
from unweave.modalities.texts.evaluation.log import Log
from unweave.modalities.texts.evaluation.metrics import log_scores
from unweave.modalities.texts.evaluation.numbers import (
    MUSE_RETRAINED,
    Tokens,
    extraction_strength,
    min_k,
    min_k_plus_plus,
    option_probability,
    privleak,
    truth_ratio,
)
from unweave.modalities.texts.evaluation.stored import stored


def test_tofu_scores_the_first_300_rows_of_every_set() -> None:
    """400 rows, of which the last hundred are known by heart: its code never sees them."""
    known = {i: 0.25 if i < 300 else 1.0 for i in range(400)}
    sets = {
        "forget": {"prob": known, "rougeL_recall": known},
        "retain": {"prob": known},
        "world_facts": {"prob": known},
    }
    for compat, value, n in ((None, (300 * 0.25 + 100) / 400, 400), ("tofu", 0.25, 300)):
        scores = log_scores(Log("", sets, compat))  # type: ignore[arg-type]
        for name in ("forget_probability", "forget_rouge", "retain_probability"):
            assert scores[name].value == pytest.approx(value) and scores[name].n == n
    missing = Log("", {"forget": {"prob": known, "rougeL_recall": {**known, 0: None}}}, "tofu")
    assert len(missing.indices("forget", "rougeL_recall")) == 299, "the rows are the set's, not those with a value"
    small = {"forget": {"prob": {7: 0.5, 9: 0.7}}}
    assert log_scores(Log("", small, "tofu")) == log_scores(Log("", small))


def test_tofu_and_muse_have_nothing_of_open_unlearning() -> None:
    """The geometric truth ratio without 1e-10, an extraction strength of 0, the last token, and no reference of 0.5."""
    nothing = Tokens([-3.0] * 4, [0] * 4, [-2.0] * 4, [1.0] * 4)
    for compat in ("tofu", "muse"):
        assert truth_ratio([1.0], [[0.5, 4.0]], compat)[0] == pytest.approx(math.exp(1 - 2.25))  # type: ignore[arg-type]
        assert truth_ratio([30.0], [[30.0]], compat)[0] == 1  # type: ignore[arg-type]
        assert option_probability([1e-12], [[1e-12]], compat)[0] == 0.5  # type: ignore[arg-type]
        assert extraction_strength(nothing, compat) == 0  # type: ignore[arg-type]
        with pytest.raises(UndefinedScore, match="retrained model"):
            privleak(0.3, None, compat)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("logprobs", "ours", "muse"),
    [
        ([-1.0], 1.0, math.nan),  # floor(0.4) = 0 tokens
        ([-1.0, -2.0], 2.0, math.nan),  # floor(0.8) = 0
        ([-1.0, -4.0, -2.0], 4.0, 4.0),  # floor(1.2) = 1
        ([-1.0, -4.0, -2.0, -3.0, -5.0], 4.5, 4.5),  # floor(2) = 2: (4 + 5) / 2
    ],
)
def test_min_k_of_short_texts_in_muse(logprobs: list[float], ours: float, muse: float) -> None:
    n = len(logprobs)
    tokens = Tokens(logprobs, [1] * n, [-1.0] * n, [1.0] * n)
    assert min_k(tokens) == min_k(tokens, compat="tofu") == ours
    assert min_k(tokens, compat="muse") == pytest.approx(muse, nan_ok=True)
    assert math.isfinite(min_k_plus_plus(tokens, compat="muse")), "an attack that its code does not have"


def test_a_short_text_leaves_muse_without_an_auc() -> None:
    def line(group: str, index: int, logprobs: list[float]) -> dict[str, object]:
        n = len(logprobs)
        told = {"logprobs": logprobs, "hits": [1] * n, "means": [-1.0] * n, "variances": [1.0] * n, "ends": False}
        rest = {"bytes": 9, "paraphrased": [], "perturbed": [], "perturbed_tokens": []}
        return {"set": group, "family": "forced", "index": index, **told, **rest}

    long = [line(group, i, [-0.1 * i, -1.0, -2.0]) for group in ("forget", "holdout") for i in range(20)]
    lines = [*long, line("forget", 20, [-1.0, -2.0])]
    ours, theirs = (log_scores(stored(lines, "", compat)) for compat in (None, "muse"))  # type: ignore[arg-type]
    assert ours["mia_min_k"].value is not None
    assert theirs["mia_min_k"].value is None and "one or two tokens" in theirs["mia_min_k"].reason
    assert theirs["mia_loss"].value == ours["mia_loss"].value
    whole = log_scores(stored(long, "", "muse"))
    assert whole["mia_min_k"].value == log_scores(stored(long, ""))["mia_min_k"].value


def test_muse_compares_with_constants() -> None:
    """(A - A_r) / A_r in per cent, A = 1 - AUC: its code has A_r = 0.4772 on News and 0.5393 on Books."""
    assert privleak(0.6, MUSE_RETRAINED["News"], "muse") == pytest.approx(100 * (0.4 - 0.4772) / 0.4772)
    assert privleak(0.6, MUSE_RETRAINED["Books"], "muse") == pytest.approx(100 * (0.4 - 0.5393) / 0.5393)
    assert privleak(1.0, MUSE_RETRAINED["News"], "muse") == -100


@pytest.mark.parametrize(("stemmer", "rouge"), [(True, 1.0), (False, 0.0)])
def test_rouge_with_and_without_the_stemmer(stemmer: bool, rouge: float) -> None:
    """running against runs: the same stem, other words. TOFU has the stemmer in every set, MUSE in none."""
    scores = dict.fromkeys(("rouge1_recall", "rougeL_recall", "rougeL_f1"), rouge)
    line = {"set": "forget", "family": "generated", "index": 0, "stemmer": stemmer, "truth": "running"}
    lines = [{**line, "generation": "runs", **scores}]
    found = {
        compat: log_scores(stored(lines, "", compat))["forget_rouge"].value  # type: ignore[arg-type]
        for compat in (None, "tofu", "muse")
    }
    assert found == {None: rouge, "tofu": 1, "muse": 0}


def test_a_recipe_takes_them(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = "data: {source: tofu}\nforget: {split: forget10}\nmodel: {weights: a/b}\nmethod: {name: npo}\n"
    for compat in ("open-unlearning", "tofu", "muse"):
        recipe.write_text(f"{text}evaluation: {{compat: {compat}}}\n")
        assert read(recipe).evaluation.compat == compat
    recipe.write_text(f"{text}evaluation: {{compat: salun}}\n")
    with pytest.raises(UnweaveError, match="compat"):
        read(recipe)
