r"""KLoM, the divergence of margins over models (Georgiev et al., arXiv:2410.23232).

    KLoM_i = sum_b p_b log(p_b / max(q_b, 1e-5)),   p, q the histograms of example i's margin over unlearned and
                                                     retrained models: clipped to +-100, 20 bins on the joint range

Under an exact method it is not 0, and it falls with the number of models: compare at equal numbers, beside the null.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from unweave.audit.attacks.pools import exchange_p, null_level, pools
from unweave.evaluation.metric import Array, Measurement, Metric, Score, UndefinedScore

BINS, CLIP, FLOOR = 20, 100.0, 1e-5
FEWEST = 8  # models a side: of fewer, 20 bins say more of the centring than of the models
KLOM = Metric(
    "klom",
    "mean over examples of KL(unlearned || retrained) between histograms of the margin over models",
    "nats",
    "as null",
    (0, -math.log(FLOOR)),
    "run",
    "100 unlearned and 100 retrained models, as published; the null level says what fewer mean",
    "fewer than two models on a side, or a margin that is not finite",
    "Georgiev et al., arXiv:2410.23232",
    plain="divergence from retraining, example by example",
)


def klom(
    unlearned: ArrayLike, retrained: ArrayLike, *, compat: Literal["data-unlearning-bench"] | None = None
) -> Array:
    """KLoM of each example, `[n]`, from margins `[N, n]` and `[M, n]`.

    Args:
        unlearned: a row per unlearned model.
        retrained: a row per retrained model.
        compat: "data-unlearning-bench" for the released code, whose bins are half open at the top: the largest margin
            falls out of the histogram, and N must be M.

    Raises:
        UndefinedScore: see `KLOM.undefined_when`.
    """
    u, r = (np.clip(x, -CLIP, CLIP) for x in pools(unlearned, retrained))
    if compat and len(u) != len(r):
        raise UndefinedScore(f"data-unlearning-bench needs as many models on both sides; found {len(u)} and {len(r)}.")
    low, high = np.minimum(u.min(0), r.min(0)), np.maximum(u.max(0), r.max(0))
    width = np.where(high > low, high - low, 1.0) / BINS
    p, q = (_histogram(x, low, high, width, drop=compat is not None) for x in (u, r))
    return np.asarray((p * np.log(np.where(p > 0, p, 1.0) / np.maximum(q, FLOOR))).sum(axis=0))


def klom_score(unlearned: ArrayLike, retrained: ArrayLike, *, permutations: int = 200, seed: int = 0) -> Score:
    """Mean KLoM with its null level and the p-value of "both pools are one distribution".

    Its interval is left out: the estimate is biased upwards by about its null level, and no interval mends that.

    Args:
        unlearned: margins `[N, n]`, a row per unlearned model, each from another original.
        retrained: margins `[M, n]`.
        permutations: exchanges of whole models for the p-value.
        seed: of the exchanges.
    """
    sizes = {"unlearned runs": len(np.asarray(unlearned)), "retrained runs": len(np.asarray(retrained))}

    def measure() -> Measurement:
        u, r = pools(unlearned, retrained)
        p = exchange_p(u, r, _mean, seed, permutations)
        return Measurement(_mean(u, r), null=null_level(u, r, _mean, seed, fewest=FEWEST), p=p)

    return KLOM.of(sizes, measure)


def _mean(u: Array, r: Array) -> float:
    return float(klom(u, r).mean())


def _histogram(x: Array, low: Array, high: Array, width: Array, *, drop: bool) -> Array:
    """Shares `[bins, n]` of each column."""
    place = np.clip(np.floor((x - low) / width).astype(np.int64), 0, BINS - 1)
    if drop:
        place = np.where(x >= high, BINS, place)
    columns = x.shape[1]
    counts = np.bincount((place * columns + np.arange(columns)).ravel(), minlength=(BINS + 1) * columns)
    return counts.reshape(BINS + 1, columns)[:BINS] / len(x)
