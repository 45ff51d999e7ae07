"""Membership inference on text: one score per example and attack, and what the field makes of their AUC.

A higher score says "less likely a member", and the AUC is `P(score of a held-out text > score of a forget text)`: 1
for a model that knows the forget set by heart. An exact method gives the retrained model's AUC, which need not be 0.5:
on TOFU it is 0.38 (Min-K), because the held-out authors are easier than the forgotten ones.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from unweave.evaluation.membership import FEWEST, auc
from unweave.evaluation.value import UndefinedScore, finite
from unweave.modalities.texts.evaluation.tokens import Compat

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
