"""What every score of a text model's sheet is: direction, range, unit of replication, needs, null level in words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from unweave.evaluation.evidence import Metric, Replicate, Right
from unweave.modalities.texts.evaluation.attacks import ATTACKS

_TOFU, _MUSE = "Maini et al. (TOFU), COLM 2024", "Shi et al. (MUSE), ICLR 2025"
_RETRAINED = "what a model retrained without the forget set scores; nothing else is right"
_RELEARNED = "what a retrained model scores after the same relearning; it learns from it, too"
_KEPT = "what a retrained model scores: the original's, but for what the forget set taught of the others"
_NO_VALUE = "no example has a value, or one is not finite"
_TWO_LOGS = "the forget set's answers, paraphrases and wrong answers, of the model and of a retrained one"
RATIO = "R = exp(-mean loss of the perturbed answers) / exp(-loss of the paraphrase)"
SETS = {
    "forget": "the forget set",
    "retain": "the retain set",
    "real_authors": "TOFU's questions on real authors",
    "world_facts": "TOFU's questions on world facts",
    "forget_paraphrased": "forget questions in other words",
    "forget_relearned": "forget examples after relearning others",
    "forget_prefixed": "the rest of forget answers, their first tokens given",
    "forget_verbmem": "MUSE's forget texts, continued",
    "forget_knowmem": "MUSE's questions on the forget texts",
    "retain_knowmem": "MUSE's questions on the retain texts",
}


@dataclass(frozen=True)
class Kind:
    """What the scores that are means of one column have in common."""

    definition: str
    replicate: Replicate
    needs: str
    undefined_when: str
    source: str


_FORCED, _WRITTEN = "a forward pass over", "greedy answers, and the package rouge-score, on"
_NO_TOKEN = "no answer has a token besides the end of the text, or a value is not finite"
_NO_WORD = "no true answer has a word of a-z or 0-9"
KINDS = {
    "prob": Kind("mean of exp(-token loss)", "example", _FORCED, _NO_VALUE, _TOFU),
    "rougeL_recall": Kind("mean ROUGE-L recall", "prompt", _WRITTEN, _NO_WORD, "Lin, 2004; recall as in TOFU"),
    "rougeL_f1": Kind("mean ROUGE-L F1", "prompt", _WRITTEN, _NO_WORD, "Lin, 2004; F1 as in MUSE"),
    "extraction": Kind(
        "mean of 1 - k/L, k tokens given before greedy decoding completes the answer",
        *("example", _FORCED, _NO_TOKEN, "Carlini et al., USENIX Security 2021"),
    ),
    "exact": Kind(
        "mean share of answer tokens that are the likeliest",
        *("example", _FORCED, _NO_TOKEN, "Tirumala et al., NeurIPS 2022"),
    ),
}


def mean_of(name: str, group: str, column: str, right: Right = "as null") -> Metric:
    """The mean of a column over a set."""
    kind = KINDS[column]
    exact = _KEPT if right == "higher" else _RELEARNED if group == "forget_relearned" else _RETRAINED
    definition, needs = f"{kind.definition}, {SETS[group]}", f"{kind.needs} {SETS[group]}"
    about = kind.replicate, needs, kind.undefined_when, kind.source, exact
    return Metric(name, definition, "share", right, (0, 1), *about)


def truth_ratio(name: str, group: str, definition: str, right: Right = "as null") -> Metric:
    """A mean of a form of the truth ratio."""
    also = "" if group in ("real_authors", "world_facts") else " and paraphrases"
    needs = f"wrong answers{also} of {SETS[group]}"
    undefined = "no wrong answers, different numbers of them, or a loss that is not finite"
    exact = _RETRAINED if right == "as null" else _KEPT
    return Metric(name, definition, "share", right, (0, 1), "example", needs, undefined, _TOFU, exact)


def options(name: str, group: str) -> Metric:
    """The right answer's probability among the wrong ones'."""
    of = "mean of P(answer) / (P(answer) + sum of P(perturbed)), P = exp(-token loss)"
    needs = f"wrong answers of {SETS[group]}"
    return Metric(name, of, "share", "higher", (0, 1), "example", needs, _NO_VALUE, _TOFU, _KEPT)


FORGET_QUALITY = Metric(
    "forget_quality",
    "p of the Kolmogorov-Smirnov test, truth ratios against the retrained model's",
    *("p-value", "higher", (0, 1), "example", _TWO_LOGS, "no retrained log, or truth ratios that are not finite"),
    *(_TOFU, "uniform on [0, 1], so 0.9 is no better than 0.3; below 0.05 in 5 % of runs"),
)
KS_DISTANCE = Metric(
    "ks_distance",
    "largest distance of the two distribution functions of that test",
    *("share", "lower", (0, 1), "example", _TWO_LOGS, "no retrained log, or truth ratios that are not finite"),
    *("", "below 1.36 sqrt(1/n + 1/m) in 95 % of runs: 0.096 for 400 against 400"),
)
PRIVLEAK = Metric(
    "privleak",
    "100 ((1 - AUC) - (1 - AUC_r)) / (1 - AUC_r) of the Min-K AUCs, r the retrained model",
    *("points", "as null", (-100, math.inf), "example", "held-out texts, and a retrained model's log"),
    *("no retrained log, fewer than 20 texts on a side, or AUC_r = 1", _MUSE, "0"),
)
GAIN = Metric(
    "relearned_gain",
    "rise of exp(-token loss) on forget examples by relearning others",
    *("share", "as null", (-1, 1), "example", "the forget set before and after relearning others", _NO_VALUE),
    *("Deeb and Roger, arXiv:2410.08827", "a retrained model's gain, which is above 0"),
)
ANY_PROMPT = Metric(
    "any_prompt_rouge",
    "mean of the larger ROUGE-L recall of the two ways to ask",
    *("share", "as null", (0, 1), "prompt", "greedy answers to forget questions in both wordings", _NO_WORD),
    *("", _RETRAINED),
)
CHOICE_ACCURACY = Metric(
    "choice_accuracy",
    "share of questions whose right option is the likeliest continuation",
    *("share", "lower", (0, 1), "prompt", "WMDP's questions, four options each", _NO_VALUE),
    *("Li et al. (WMDP), ICML 2024", "what a retrained model scores; chance is 1/4"),
)


def attack(name: str) -> Metric:
    """The AUC of a membership attack on texts."""
    needs = "held-out texts that the model never saw"
    needs += ", and a retrained model's log or scores" if name == "reference" else ""
    undefined = "fewer than 20 texts on a side, or a score that is not finite"
    exact = "a retrained model's, not 1/2: forget and held-out texts differ in more than membership"
    return Metric(
        f"mia_{name}",
        f"AUC, held-out against forget: {ATTACKS[name]}",
        *("share", "as null", (0, 1), "example", needs, undefined, _SOURCES[name], exact),
    )


def utility(terms: Iterable[str]) -> Metric:
    """The harmonic mean of the nine terms of TOFU."""
    of = f"harmonic mean of the nine: {', '.join(terms)}"
    needs = "TOFU's retain set, real authors and world facts, with generated answers"
    return Metric(
        "model_utility", of, "share", "higher", (0, 1), "example", needs, "one of the nine is undefined", _TOFU, _KEPT
    )


_SOURCES = {
    "loss": "Yeom et al., CSF 2018",
    "zlib": "Carlini et al., USENIX Security 2021",
    "min_k": "Shi et al., ICLR 2024",
    "min_k_plus_plus": "Zhang et al., ICLR 2025",
    "gradnorm": "as in open-unlearning, but of the whole gradient",
    "reference": "Carlini et al., USENIX Security 2021",
}
