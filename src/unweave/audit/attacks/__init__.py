"""Attacks as pure functions of arrays of scores, each with what an exact method scores at the same sizes."""

from unweave.audit.attacks.divergence import klom, klom_score
from unweave.audit.attacks.epsilon import Bound, epsilon_bound
from unweave.audit.attacks.forgetting import epsilons, final_score, forgetting_score
from unweave.audit.attacks.likelihood import lira, rmia
from unweave.audit.attacks.permutation import PerExample, benjamini_hochberg, per_example
from unweave.audit.attacks.population import Attack, Blind, Triple, blind_baseline, forget_against_holdout, on_triple
from unweave.audit.attacks.ulira import IN, OUT, UNLEARNED, ULira, thirds, u_lira
from unweave.evaluation.signal import modified_entropy, signals

__all__ = [
    "IN",
    "OUT",
    "UNLEARNED",
    "Attack",
    "Blind",
    "Bound",
    "PerExample",
    "Triple",
    "ULira",
    "benjamini_hochberg",
    "blind_baseline",
    "epsilon_bound",
    "epsilons",
    "final_score",
    "forget_against_holdout",
    "forgetting_score",
    "klom",
    "klom_score",
    "lira",
    "modified_entropy",
    "on_triple",
    "per_example",
    "rmia",
    "signals",
    "thirds",
    "u_lira",
]
