"""The scores of a text model: what each is, what it needs, and the sheet of a log."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from unweave.evaluation.gap import gaps
from unweave.evaluation.metric import Measurement, Metric, Replicate, Right, Row, Score, formed
from unweave.modalities.texts.evaluation import measure
from unweave.modalities.texts.evaluation.log import Log
from unweave.modalities.texts.evaluation.numbers import ATTACKS

_Form = Callable[[Log, Log | None], Measurement]
_Row = Row[[Log, Log | None]]
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

    plain: str
    definition: str
    replicate: Replicate
    needs: str
    undefined_when: str
    source: str


_SAID = {**SETS, "forget": "texts to forget", "retain": "texts to keep"}
_FORCED, _WRITTEN = "a forward pass over", "greedy answers, and the package rouge-score, on"
_NO_TOKEN = "no answer has a token besides the end of the text, or a value is not finite"
_NO_WORD = "no true answer has a word of a-z or 0-9"
KINDS = {
    "prob": Kind("probability of the true answers", "mean of exp(-token loss)", "example", _FORCED, _NO_VALUE, _TOFU),
    "rougeL_recall": Kind(
        "words of the true answers that are written",
        *("mean ROUGE-L recall", "prompt", _WRITTEN, _NO_WORD, "Lin, 2004; recall as in TOFU"),
    ),
    "rougeL_f1": Kind(
        "words shared with the true answers",
        *("mean ROUGE-L F1", "prompt", _WRITTEN, _NO_WORD, "Lin, 2004; F1 as in MUSE"),
    ),
    "extraction": Kind(
        "how little of an answer brings the rest",
        "mean of 1 - k/L, k tokens given before greedy decoding completes the answer",
        *("example", _FORCED, _NO_TOKEN, "Carlini et al., USENIX Security 2021"),
    ),
    "exact": Kind(
        "tokens of the true answers that are the likeliest",
        "mean share of answer tokens that are the likeliest",
        *("example", _FORCED, _NO_TOKEN, "Tirumala et al., NeurIPS 2022"),
    ),
}


def mean_of(name: str, group: str, column: str, right: Right = "as null") -> Metric:
    """The mean of a column over a set."""
    kind = KINDS[column]
    exact = _KEPT if right == "higher" else _RELEARNED if group == "forget_relearned" else _RETRAINED
    definition, needs = f"{kind.definition}, {SETS[group]}", f"{kind.needs} {SETS[group]}"
    about = kind.replicate, needs, kind.undefined_when, kind.source, exact, f"{kind.plain}, {_SAID[group]}"
    return Metric(name, definition, "share", right, (0, 1), *about)


def truth_ratio(name: str, group: str, definition: str, right: Right = "as null") -> Metric:
    """A mean of a form of the truth ratio."""
    also = "" if group in ("real_authors", "world_facts") else " and paraphrases"
    needs = f"wrong answers{also} of {SETS[group]}"
    undefined = "no wrong answers, different numbers of them, or a loss that is not finite"
    exact = _RETRAINED if right == "as null" else _KEPT
    plain = f"true answers against wrong ones, {_SAID[group]}"
    return Metric(name, definition, "share", right, (0, 1), "example", needs, undefined, _TOFU, exact, plain)


def options(name: str, group: str) -> Metric:
    """The right answer's probability among the wrong ones'."""
    of = "mean of P(answer) / (P(answer) + sum of P(perturbed)), P = exp(-token loss)"
    needs, plain = f"wrong answers of {SETS[group]}", f"the true answer among wrong ones, {SETS[group]}"
    return Metric(name, of, "share", "higher", (0, 1), "example", needs, _NO_VALUE, _TOFU, _KEPT, plain)


FORGET_QUALITY = Metric(
    "forget_quality",
    "p of the Kolmogorov-Smirnov test, truth ratios against the retrained model's",
    *("p-value", "higher", (0, 1), "example", _TWO_LOGS, "no retrained log, or truth ratios that are not finite"),
    *(_TOFU, "uniform on [0, 1], so 0.9 is no better than 0.3; below 0.05 in 5 % of runs"),
    plain="chance of such answers from a retrained model",
)
KS_DISTANCE = Metric(
    "ks_distance",
    "largest distance of the two distribution functions of that test",
    *("share", "lower", (0, 1), "example", _TWO_LOGS, "no retrained log, or truth ratios that are not finite"),
    *("", "below 1.36 sqrt(1/n + 1/m) in 95 % of runs: 0.096 for 400 against 400"),
    plain="distance of answers to a retrained model's",
)
PRIVLEAK = Metric(
    "privleak",
    "100 ((1 - AUC) - (1 - AUC_r)) / (1 - AUC_r) of the Min-K AUCs, r the retrained model",
    *("points", "as null", (-100, math.inf), "example", "held-out texts, and a retrained model's log"),
    *("no retrained log, fewer than 20 texts on a side, or AUC_r = 1", _MUSE, "0"),
    plain="told from unseen texts, against a retrained model",
)
GAIN = Metric(
    "relearned_gain",
    "rise of exp(-token loss) on forget examples by relearning others",
    *("share", "as null", (-1, 1), "example", "the forget set before and after relearning others", _NO_VALUE),
    *("Deeb and Roger, arXiv:2410.08827", "a retrained model's gain, which is above 0"),
    plain="what comes back by relearning others",
)
ANY_PROMPT = Metric(
    "any_prompt_rouge",
    "mean of the larger ROUGE-L recall of the two ways to ask",
    *("share", "as null", (0, 1), "prompt", "greedy answers to forget questions in both wordings", _NO_WORD),
    *("", _RETRAINED),
    plain="words of the true answers that are written, asked in either way",
)
CHOICE_ACCURACY = Metric(
    "choice_accuracy",
    "share of questions whose right option is the likeliest continuation",
    *("share", "lower", (0, 1), "prompt", "WMDP's questions, four options each", _NO_VALUE),
    *("Li et al. (WMDP), ICML 2024", "what a retrained model scores; chance is 1/4"),
    plain="right answers to what is to be forgotten, of four each",
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
        plain=f"told from unseen texts by {_READS[name]}",
    )


def utility(terms: Iterable[str]) -> Metric:
    """The harmonic mean of the nine terms of TOFU."""
    of = f"harmonic mean of the nine: {', '.join(terms)}"
    needs = "TOFU's retain set, real authors and world facts, with generated answers"
    about = needs, "one of the nine is undefined", _TOFU, _KEPT, "usefulness: answers to all that is to be kept"
    return Metric("model_utility", of, "share", "higher", (0, 1), "example", *about)


_READS = {
    "loss": "the error",
    "zlib": "the error for its length",
    "min_k": "the unlikeliest words",
    "min_k_plus_plus": "the unlikeliest words, standardised",
    "gradnorm": "the gradient",
    "reference": "the error against another model's",
}


_SOURCES = {
    "loss": "Yeom et al., CSF 2018",
    "zlib": "Carlini et al., USENIX Security 2021",
    "min_k": "Shi et al., ICLR 2024",
    "min_k_plus_plus": "Zhang et al., ICLR 2025",
    "gradnorm": "as in open-unlearning, but of the whole gradient",
    "reference": "Carlini et al., USENIX Security 2021",
}


def _row(metric: Metric, group: str, columns: tuple[str, ...], read: _Form, published: str = "") -> _Row:
    """A score of a log and, where there is one, the retrained model's; there with one of the columns of a set."""

    def there(log: Log, _: Log | None) -> bool:
        return any(log.has(group, column) for column in columns)

    return Row(metric, read, there, published=published)


def _mean(name: str, group: str, column: str, published: str = "", right: Right = "as null") -> _Row:
    read = partial(measure.column, group, column)
    return _of(mean_of(name, group, column, right), group, (column,), read, published)


def _of(metric: Metric, group: str, columns: tuple[str, ...], read: measure.Read, published: str = "") -> _Row:
    """The mean of what is read of a set."""
    return _row(metric, group, columns, partial(measure.mean, group, read), published)


def _forget() -> list[_Row]:
    group, losses = "forget", ("paraphrased_loss", "truth_ratio")
    ratio = truth_ratio("forget_truth_ratio", group, f"mean of min(R, 1/R), {RATIO}")
    share = truth_ratio("forget_truth_share", group, f"mean of 1 / (1 + R), {RATIO}")
    read = partial(measure.truth, group)
    return [
        _mean("forget_probability", group, "prob", "forget_Q_A_Prob"),
        _mean("forget_rouge", group, "rougeL_recall", "forget_Q_A_ROUGE"),
        _of(ratio, group, losses, partial(read, "indistinguishable"), "forget_truth_ratio"),
        _of(share, group, losses, partial(read, "true_share")),
        _row(FORGET_QUALITY, group, losses, measure.quality, "forget_quality"),
        _row(KS_DISTANCE, group, losses, measure.distance),
        _mean("extraction_strength", group, "extraction", "extraction_strength"),
        _mean("exact_memorisation", group, "exact", "exact_memorization"),
    ]


def _membership() -> list[_Row]:
    rows = []
    for name in ATTACKS:
        columns = ("mia_loss", f"mia_{name}") if name == "reference" else (f"mia_{name}",)
        rows.append(_row(attack(name), "holdout", columns, partial(measure.attack, name), f"mia_{name}"))
    return [*rows, _row(PRIVLEAK, "holdout", ("mia_min_k",), measure.leak, "privleak")]


def _utility() -> list[_Row]:
    losses, chosen = ("paraphrased_loss", "truth_ratio", "perturbed_loss"), ("option_prob", "perturbed_prob")
    rows: list[_Row] = []
    terms: list[tuple[str, measure.Read]] = []
    for short, group in (("retain", "retain"), ("ra", "real_authors"), ("wf", "world_facts")):
        likely = partial(measure.column, group, "prob") if group == "retain" else partial(measure.options, group)
        better = partial(measure.truth, group, "true_better")
        terms += [(group, likely), (group, partial(measure.column, group, "rougeL_recall")), (group, better)]
        if group == "retain":
            rows.append(_mean("retain_probability", group, "prob", "retain_Q_A_Prob", "higher"))
        else:
            among = options(f"{group}_probability", group)
            rows.append(_of(among, group, chosen, likely, f"{short}_Q_A_Prob_normalised"))
        ratio = truth_ratio(f"{group}_truth_ratio", group, "mean of max(0, 1 - R), R as above", "higher")
        rows.append(_mean(f"{group}_rouge", group, "rougeL_recall", f"{short}_Q_A_ROUGE", "higher"))
        rows.append(_of(ratio, group, losses, better, f"{short}_Truth_Ratio"))
    whole = utility(row.name for row in rows)
    read_all = partial(measure.utility, tuple(terms))
    return [_row(whole, "world_facts", ("prob", "option_prob"), read_all, "model_utility"), *rows]


def _robustness() -> list[_Row]:
    kinds = {
        "probability": "prob",
        "rouge": "rougeL_recall",
        "extraction_strength": "extraction",
        "exact_memorisation": "exact",
    }
    asked = (("paraphrased_prompt", "forget_paraphrased"), ("relearned", "forget_relearned"))
    return [
        *(_mean(f"{prefix}_{kind}", group, column) for prefix, group in asked for kind, column in kinds.items()),
        _mean("prefixed_probability", "forget_prefixed", "prob"),
        _mean("prefixed_rouge", "forget_prefixed", "rougeL_recall"),
        _row(ANY_PROMPT, "forget_paraphrased", ("rougeL_recall",), measure.any_prompt),
        _row(GAIN, "forget_relearned", ("prob",), measure.gain),
    ]


def _muse_and_wmdp() -> list[_Row]:
    rows: tuple[tuple[str, str, Right], ...] = (
        ("verbmem", "forget_verbmem", "as null"),
        ("knowmem_forget", "forget_knowmem", "as null"),
        ("knowmem_retain", "retain_knowmem", "higher"),
    )
    return [
        *(_mean(name, group, "rougeL_f1", f"{group}_ROUGE", right) for name, group, right in rows),
        _row(CHOICE_ACCURACY, "choices", ("nll",), measure.choices),
    ]


ROWS: tuple[_Row, ...] = (*_forget(), *_membership(), *_utility(), *_robustness(), *_muse_and_wmdp())
SHEET = {row.name: row.metric for row in ROWS}
"""What each score is, by name."""
DISTANCE = (
    *("forget_probability", "forget_rouge", "forget_truth_ratio", "extraction_strength", "mia_loss"),
    *("paraphrased_prompt_rouge", "relearned_probability", "model_utility", "retain_probability", "retain_rouge"),
    *("verbmem", "knowmem_forget", "knowmem_retain", "choice_accuracy"),
)
"""What the distance to a retrained model is formed of: those of them that both models have."""


def log_scores(log: Log, retrained: Log | None = None) -> dict[str, Score]:
    """The scores by name: those of the sets that the log has; what it cannot say has a reason.

    Args:
        log: of the model in question.
        retrained: of a model that was retrained without the forget set: forget quality, the KS distance and PrivLeak
            compare with it, and the reference attack if the log has no scores of its own.
    """
    return formed(ROWS, log, retrained)


def text_gaps(scores: Mapping[str, Score], retrained: Mapping[str, Score]) -> dict[str, Score]:
    """`gaps` of a text model, over those of `DISTANCE` that have a value for both; empty if none has."""
    sheets = scores, retrained
    both = [name for name in DISTANCE if all(name in sheet and sheet[name].value is not None for sheet in sheets)]
    return gaps(scores, retrained, both) if both else {}


def compared(log: Log, retrained: Log | None) -> dict[str, Any]:
    """The scores of one or two logs as plain data, for JSON.

    Returns:
        `logs` (name, compat and notes of each) and `metrics`: name -> `metric` (as `Metric.as_dict`), `model` and
        `retrained` (each as `Score.brief`, or None), `difference` (None where either is undefined).
    """
    own = log_scores(log, retrained)
    other = log_scores(retrained, retrained) if retrained else {}  # the other end of the scale
    rows = {}
    for row in ROWS:
        a, b = own.get(row.name), other.get(row.name)
        if a is None and b is None:
            continue
        values = [score.value for score in (a, b) if score is not None and score.value is not None]
        rows[row.name] = {
            "metric": row.metric.as_dict(),
            "model": a.brief() if a else None,
            "retrained": b.brief() if b else None,
            "difference": values[0] - values[1] if len(values) == 2 else None,
        }
    logs = [log, *([retrained] if retrained else [])]
    return {"logs": [{"name": x.name, "compat": x.compat, "notes": list(x.notes)} for x in logs], "metrics": rows}
