"""From a generated text to its score: ROUGE, and where the text is cut."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from unweave.evaluation.value import UndefinedScore
from unweave.extras import require

MUSE_STOPS = ("\n\n", "\nQuestion", "Question:")


def rouge(truth: str, generated: str, *, stemmer: bool = True) -> dict[str, float]:
    """`rouge1_recall`, `rougeL_recall` and `rougeL_f1` of a generated text against the true one.

    ROUGE-L recall is `LCS(generated, truth) / |truth|` over words. TOFU reads the recall, with the stemmer; MUSE the
    F1, without (its scores under `compat="open-unlearning"` have it). Lin, 2004, by the package rouge-score.

    Raises:
        UndefinedScore: the truth has no word of a-z or 0-9, which is all that rouge-score knows.
        UnsupportedError: rouge-score is not installed.
    """
    scores = _scorer(stemmer).score(truth, generated)
    if not any(letter.isascii() and letter.isalnum() for letter in truth):
        raise UndefinedScore(f"ROUGE counts words of a-z and 0-9, and {truth[:40]!r} has none.")
    return {
        "rouge1_recall": float(scores["rouge1"].recall),
        "rougeL_recall": float(scores["rougeL"].recall),
        "rougeL_f1": float(scores["rougeL"].fmeasure),
    }


def cut(text: str, stops: Sequence[str] = ()) -> str:
    """The text before the first of the stop strings, stripped."""
    for stop in stops:
        text = text.split(stop)[0]
    return text.strip()


def muse_stops() -> tuple[str, ...]:
    """Where MUSE ends an answer: a blank line or the next question, in any case that its code looks for."""
    return tuple(dict.fromkeys((*MUSE_STOPS, *(w.lower() for w in MUSE_STOPS), *(w.capitalize() for w in MUSE_STOPS))))


@lru_cache(maxsize=2)
def _scorer(stemmer: bool) -> Any:
    return require("rouge_score.rouge_scorer", "language").RougeScorer(["rouge1", "rougeL"], use_stemmer=stemmer)
