"""Pure functions: what the field's metrics make of the values of one text: tokens, truth ratios, attacks, answers."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from unweave.evaluation.metric import Array, UndefinedScore, finite
from unweave.evaluation.ranking import FEWEST, auc
from unweave.extras import require

Compat = Literal["open-unlearning", "tofu", "muse"] | None
MIN_K_SHARE = 0.4  # of the tokens, as TOFU and MUSE are scored
_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Tokens:
    """What one forward pass says of one answer of L tokens.

    Args:
        logprobs: `log p(y_t | y_<t)`, `[L]`, in nats.
        hits: 1 where y_t is the likeliest token, `[L]`.
        means: `mu_t = sum_v p_v log p_v`, `[L]`.
        variances: `sum_v p_v (log p_v - mu_t)^2`, `[L]`.
        ends: the last token ends the text (EOS): it is scored by `loss`, and by nothing else.
    """

    logprobs: Sequence[float]
    hits: Sequence[int]
    means: Sequence[float]
    variances: Sequence[float]
    ends: bool = False

    def scored(self, compat: Compat = None) -> int:
        """How many tokens enter the metrics that leave the end of the text out."""
        return max(0, len(self.logprobs) - (self.ends or compat == "open-unlearning"))


def loss(tokens: Tokens) -> float:
    """Mean of `-log p(y_t)` over all tokens, the end of the text included, in nats; NaN without a token."""
    return -_mean(np.asarray(tokens.logprobs))


def probability(mean_loss: float) -> float:
    """`P(answer | question)^(1/L) = exp(-loss)`."""
    return float(np.exp(-mean_loss))


def exact_memorisation(tokens: Tokens, compat: Compat = None) -> float:
    """Share of tokens that are the likeliest ones under teacher forcing; NaN without a token.

    Tirumala et al., NeurIPS 2022 (memorization without overfitting).
    """
    return _mean(_hits(tokens, compat))


def extraction_strength(tokens: Tokens, compat: Compat = None) -> float:
    """`1 - k / L`, with k the fewest leading tokens after which greedy decoding gives all the others.

    0 where even the last token is missed; NaN without a token. Carlini et al., USENIX Security 2021, as used by MUSE
    and TOFU.

    With "open-unlearning", k is at most `L - 1`, so that "nothing" and "the last token only" are both 1/L; and 0
    without a token.
    """
    hits = _hits(tokens, compat)
    if not len(hits):
        return 0.0 if compat == "open-unlearning" else float("nan")
    if np.isnan(hits).any():
        return float("nan")
    missed = np.flatnonzero(hits == 0)
    k = int(missed[-1]) + 1 if len(missed) else 0
    return 1 - (min(k, len(hits) - 1) if compat == "open-unlearning" else k) / len(hits)


def min_k(tokens: Tokens, share: float = MIN_K_SHARE, compat: Compat = None) -> float:
    """Mean of `-log p(y_t)` over the `max(1, floor(share L))` least likely tokens; NaN without a token.

    Shi et al., Detecting pretraining data, ICLR 2024.

    With "muse", over the `floor(share L)` least likely tokens: NaN for a text of one or two.
    """
    values = np.asarray(tokens.logprobs[: tokens.scored(compat)])
    return float("nan") if compat == "muse" and int(share * len(values)) == 0 else _lowest(values, share, compat)


def min_k_plus_plus(tokens: Tokens, share: float = MIN_K_SHARE, compat: Compat = None) -> float:
    """`min_k` of `(log p(y_t) - mu_t) / sigma_t`, with sigma_t^2 at least 1e-6.

    Zhang et al., Min-K%++, ICLR 2025.
    """
    size = tokens.scored(compat)
    deviation = np.asarray(tokens.logprobs[:size]) - np.asarray(tokens.means[:size])
    sigma = np.sqrt(np.maximum(np.asarray(tokens.variances[:size]), _LEAST_VARIANCE))
    return _lowest(deviation / sigma, share, compat)


def compressed(text: str) -> int:
    """Bytes of the text after zlib: the entropy that a loss is set against. Carlini et al., USENIX Security 2021."""
    return len(zlib.compress(text.encode("utf-8")))


def _hits(tokens: Tokens, compat: Compat) -> Array:
    """1, 0, or NaN where the model gave none: what a diverged model misses is not forgotten."""
    size = tokens.scored(compat)
    return np.where(np.isnan(tokens.logprobs[:size]), np.nan, np.asarray(tokens.hits[:size], dtype=np.float64))


def _lowest(values: Array, share: float, compat: Compat) -> float:
    if not len(values):
        return 0.0 if compat == "open-unlearning" else float("nan")
    return -_mean(np.sort(values)[: max(1, int(share * len(values)))])


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


_EPSILON = 1e-10  # open-unlearning adds it to denominators, which moves small probabilities


def truth_ratio(correct: ArrayLike, wrong: ArrayLike, compat: Compat = None) -> Array:
    """`R = exp(-mean_j loss(wrong_j)) / exp(-loss(correct))`, `[n]`: wrong answers against the correct one.

    The geometric mean over the wrong answers, of length-normalised probabilities. The correct answer is a paraphrase
    for the forget and retain sets (the original would be known by heart) and the original for real authors and world
    facts. 1 for a model that does not know, 0 for one that is sure of the truth.

    With "open-unlearning", the denominator is 1e-10 larger: a correct answer below that probability then has a ratio
    near 0.

    Args:
        correct: mean token loss of the correct answers, `[n]`.
        wrong: mean token losses of the wrong answers, `[n, k]`.
    """
    truth, false = np.asarray(correct, dtype=np.float64), np.asarray(wrong, dtype=np.float64).mean(axis=-1)
    if compat == "open-unlearning":
        return np.exp(-false) / (np.exp(-truth) + _EPSILON)
    return np.exp(truth - false)


def arithmetic_truth_ratio(correct: ArrayLike, wrong: ArrayLike) -> Array:
    """`mean_j exp(-loss(wrong_j)) / exp(-loss(correct))`, `[n]`: the formula of the TOFU paper, not of its code."""
    truth, false = np.asarray(correct, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    return np.exp(truth[:, None] - false).mean(axis=-1)


def indistinguishable(ratios: Array, compat: Compat = None) -> Array:
    """`min(R, 1 / R)`, `[n]`: 1 where wrong and right are equally likely. Higher is better on the forget set."""
    with np.errstate(divide="ignore"):
        return np.minimum(ratios, 1 / (ratios + (_EPSILON if compat == "open-unlearning" else 0.0)))


def true_better(ratios: Array) -> Array:
    """`max(0, 1 - R)`, `[n]`: higher is better on all other sets."""
    return np.maximum(0.0, 1 - ratios)


def true_share(ratios: Array) -> Array:
    """`1 / (1 + R) = correct / (correct + wrong)`, `[n]`: the share that goes to the truth (`prob_mean`)."""
    return 1 / (1 + ratios)


def option_probability(correct: ArrayLike, wrong: ArrayLike, compat: Compat = None) -> Array:
    """`P(correct) / (P(correct) + sum_j P(wrong_j))`, `[n]`, of length-normalised probabilities.

    With "open-unlearning", the denominator is 1e-10 larger.
    """
    p = np.asarray(correct, dtype=np.float64)
    return p / (
        p + np.asarray(wrong, dtype=np.float64).sum(axis=-1) + (_EPSILON if compat == "open-unlearning" else 0.0)
    )


def forget_quality(ratios: ArrayLike, retrained: ArrayLike) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test on the truth ratios of the forget set.

    High where the model cannot be told from one that was retrained without the set. Under an exact method it is
    uniform on [0, 1], so 0.9 is no better than 0.3, and it falls with the number of questions: compare at equal n only.
    """
    return float(_kolmogorov_smirnov(ratios, retrained).pvalue)


def ks_distance(ratios: ArrayLike, retrained: ArrayLike) -> float:
    """The statistic of that test: the largest distance of the two distribution functions, 0 to 1, lower is better."""
    return float(_kolmogorov_smirnov(ratios, retrained).statistic)


def model_utility(terms: Iterable[float]) -> float:
    """Harmonic mean of the nine terms (probability, ROUGE-L recall, truth ratio on the three kept sets).

    0 as soon as one of them is 0; read the nine, too.

    Raises:
        UndefinedScore: a term is negative or not finite.
    """
    values = np.asarray(list(terms), dtype=np.float64)
    if not len(values) or not np.isfinite(values).all() or (values < 0).any():
        raise UndefinedScore(f"A harmonic mean needs finite terms of at least 0; found {values.tolist()}.")
    return float(len(values) / np.sum(1 / values)) if (values > 0).all() else 0.0


def _kolmogorov_smirnov(ratios: ArrayLike, retrained: ArrayLike):  # type: ignore[no-untyped-def]
    from scipy.stats import ks_2samp

    a, b = np.asarray(ratios, dtype=np.float64), np.asarray(retrained, dtype=np.float64)
    for values, whose in ((a, "the model's"), (b, "the retrained model's")):
        if not len(values) or not np.isfinite(values).all():
            raise UndefinedScore(f"It needs finite truth ratios; {whose} {len(values)} are not all finite, or none.")
    return ks_2samp(a, b)


ATTACKS = {
    "loss": "mean token loss of the answer",
    "zlib": "mean token loss / bytes of the answer after zlib",
    "min_k": "mean loss of the 40 % least likely tokens",
    "min_k_plus_plus": "Min-K of log-probabilities standardised by the model's own next-token distribution",
    "gradnorm": "norm of the gradient of the mean token loss",
    "reference": "mean token loss minus that of the reference model",
}

MUSE_RETRAINED = {"News": 0.5228, "Books": 0.4607}
"""Min-K AUC of MUSE's own retrained models, constants of its code whatever model is scored; true of no other."""


def attack_auc(forget: ArrayLike, holdout: ArrayLike) -> float:
    """`P(holdout score > forget score) + P(equal) / 2`.

    Raises:
        UndefinedScore: fewer than 20 on a side, or a score that is not finite.
    """
    members, others = finite(forget, "forget", FEWEST), finite(holdout, "held-out", FEWEST)
    return auc(others, members)


def privleak(value: float, retrained: float | None, compat: Compat = None) -> float:
    """`100 ((1 - AUC) - (1 - AUC_r)) / (1 - AUC_r)` of the Min-K AUCs, in per cent; 0 is right, both signs are leaks.

    -100 for a model that still knows the forget set by heart, positive where it was pushed beyond the retrained one.
    Shi et al., MUSE, ICLR 2025.

    With "open-unlearning", 0.5 stands for a missing `AUC_r`, and the denominator is 1e-10 larger. MUSE's own code has
    this form, with a constant for `AUC_r`: `MUSE_RETRAINED`.

    Raises:
        UndefinedScore: no retrained model's AUC, or one of 1.
    """
    theirs = compat == "open-unlearning"
    if retrained is None and not theirs:
        raise UndefinedScore(
            "It needs the AUC of a retrained model: forget and held-out texts differ in more than membership, so that "
            "0.5 is not what an exact method gives. Give the retrained model's log."
        )
    reference = (1 - (0.5 if retrained is None else retrained)) + (1e-10 if theirs else 0.0)
    if not reference > 0:
        raise UndefinedScore("The retrained model's AUC is 1, so there is nothing to compare with.")
    return 100 * ((1 - value) - (1 - (0.5 if retrained is None else retrained))) / reference


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
