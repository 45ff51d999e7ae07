"""Attacks as pure functions of arrays of scores, each with what an exact method scores at the same sizes."""

from unweave.evaluation.attacks.blind import Blind, blind_baseline
from unweave.evaluation.attacks.divergence import klom, klom_score
from unweave.evaluation.attacks.epsilon import Bound, epsilon_bound
from unweave.evaluation.attacks.forgetting import epsilons, final_score, forgetting_score
from unweave.evaluation.attacks.likelihood import lira
from unweave.evaluation.attacks.permutation import PerExample, benjamini_hochberg, per_example
from unweave.evaluation.attacks.population import Attack, Triple, forget_against_holdout, on_triple
from unweave.evaluation.attacks.relative import rmia
from unweave.evaluation.attacks.signal import modified_entropy, signals
from unweave.evaluation.attacks.ulira import IN, OUT, UNLEARNED, ULira, thirds, u_lira

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
