"""From the tokens of one answer to its value of each metric: numbers in, one number out, no model.

All of them read the same four numbers per answer token, which one forward pass gives (`forward.py`): the token's
log-probability, whether it was the likeliest, and mean and variance of the log-probability under the model's own
next-token distribution.

`compat` repeats what published code does where it differs, so that published numbers can be compared.
"open-unlearning": the last token is dropped whether or not it ends the text, and an extraction strength of 0 is given
as 1/L. "muse": Min-K of a text that is too short is NaN. "tofu" has no difference here.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unweave.evaluation.value import Array

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
