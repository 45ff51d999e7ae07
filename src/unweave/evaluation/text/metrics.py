"""The sheet's rows: each metric's definition, direction and what it reads. A table, no code of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from unweave.evaluation.text import measure
from unweave.evaluation.text.attacks import ATTACKS
from unweave.evaluation.text.log import Log
from unweave.evaluation.value import Measurement

Better = Literal["higher", "lower", "retrained"]  # "retrained": right where a retrained model's is


@dataclass(frozen=True)
class Metric:
    """One row.

    Args:
        name: the key.
        definition: how the number is formed.
        unit: as in `Score`.
        better: which way is good; "retrained" where both sides of the retrained model's value are wrong.
        group: the set it reads.
        columns: of these it needs one at least to be listed.
        value: reads it from a log and, where there is one, the retrained model's log.
        published: its key in open-unlearning's files.
    """

    name: str
    definition: str
    unit: str
    better: Better
    group: str
    columns: tuple[str, ...]
    value: Callable[[Log, Log | None], Measurement]
    published: str = ""


def _mean(
    name: str, definition: str, better: Better, group: str, column: str, published: str = "", unit: str = "share"
) -> Metric:
    return Metric(name, definition, unit, better, group, (column,), partial(measure.mean, group, column), published)


def _forget() -> list[Metric]:
    group, losses = "forget", ("paraphrased_loss", "truth_ratio")
    ratio = "R = exp(-mean loss of the perturbed answers) / exp(-loss of the paraphrase)"
    return [
        _mean("forget_probability", "mean of exp(-token loss)", "retrained", group, "prob", "forget_Q_A_Prob"),
        _mean("forget_rouge", "mean ROUGE-L recall", "retrained", group, "rougeL_recall", "forget_Q_A_ROUGE"),
        Metric(
            "forget_truth_ratio", f"mean of min(R, 1/R), {ratio}", "share", "retrained", group, losses,
            partial(measure.truth, group, "indistinguishable"), "forget_truth_ratio",
        ),
        Metric(
            "forget_truth_share", f"mean of 1 / (1 + R), {ratio}", "share", "retrained", group, losses,
            partial(measure.truth, group, "true_share"),
        ),
        Metric(
            "forget_quality", "p of the Kolmogorov-Smirnov test, truth ratios against the retrained model's",
            "p-value", "higher", group, losses, measure.quality, "forget_quality",
        ),
        Metric(
            "ks_distance", "largest distance of the two distribution functions of that test",
            "share", "lower", group, losses, measure.distance,
        ),
        _mean(
            "extraction_strength", "mean of 1 - k/L, k tokens given before greedy decoding completes the answer",
            "retrained", group, "extraction", "extraction_strength",
        ),
        _mean(
            "exact_memorisation", "mean share of answer tokens that are the likeliest", "retrained", group, "exact",
            "exact_memorization",
        ),
    ]  # fmt: skip


def _membership() -> list[Metric]:
    rows = [
        Metric(
            f"mia_{name}", f"AUC, held-out against forget: {what}", "share", "retrained", "holdout",
            ("mia_loss", f"mia_{name}") if name == "reference" else (f"mia_{name}",),
            partial(measure.attack, name), f"mia_{name}",
        )
        for name, what in ATTACKS.items()
    ]  # fmt: skip
    of = "((1 - AUC) - (1 - AUC_r)) / (1 - AUC_r) of the Min-K AUCs, r the retrained model"
    leak = Metric("privleak", of, "points", "retrained", "holdout", ("mia_min_k",), measure.leak, "privleak")
    return [*rows, leak]


def _utility() -> list[Metric]:
    rows = []
    for short, group in (("retain", "retain"), ("ra", "real_authors"), ("wf", "world_facts")):
        options, truth = group != "retain", ("paraphrased_loss", "truth_ratio", "perturbed_loss")
        kind = "P(answer) / (P(answer) + sum of P(perturbed))" if options else "exp(-token loss)"
        published = f"{short}_Q_A_Prob_normalised" if options else "retain_Q_A_Prob"
        probability = partial(measure.options if options else measure.likelihood, group)
        needed = ("option_prob", "perturbed_prob") if options else ("prob",)
        rows += [
            Metric(
                f"{group}_probability", f"mean of {kind}", "share", "higher", group, needed, probability, published
            ),
            _mean(f"{group}_rouge", "mean ROUGE-L recall", "higher", group, "rougeL_recall", f"{short}_Q_A_ROUGE"),
            Metric(
                f"{group}_truth_ratio", "mean of max(0, 1 - R), R as above", "share", "higher", group, truth,
                partial(measure.truth, group, "true_better"), f"{short}_Truth_Ratio",
            ),
        ]  # fmt: skip
    names = tuple(row.name for row in rows)
    values = tuple(row.value for row in rows)
    whole = Metric(
        "model_utility", f"harmonic mean of the nine: {', '.join(names)}", "share", "higher", "world_facts",
        ("prob", "option_prob"), partial(measure.utility, values), "model_utility",
    )  # fmt: skip
    return [whole, *rows]


def _robustness() -> list[Metric]:
    rows = []
    for prefix, group, what in (
        ("paraphrased_prompt", "forget_paraphrased", "forget questions in other words"),
        ("relearned", "forget_relearned", "forget examples after relearning others"),
    ):
        rows += [
            _mean(f"{prefix}_probability", f"mean of exp(-token loss), {what}", "retrained", group, "prob"),
            _mean(f"{prefix}_rouge", f"mean ROUGE-L recall, {what}", "retrained", group, "rougeL_recall"),
            _mean(f"{prefix}_extraction_strength", f"extraction strength, {what}", "retrained", group, "extraction"),
            _mean(f"{prefix}_exact_memorisation", f"exact memorisation, {what}", "retrained", group, "exact"),
        ]
    began, rest = "forget_prefixed", "the rest of forget answers, their first tokens given"
    rows += [
        _mean("prefixed_probability", f"mean of exp(-token loss), {rest}", "retrained", began, "prob"),
        _mean("prefixed_rouge", f"mean ROUGE-L recall, {rest}", "retrained", began, "rougeL_recall"),
    ]
    worst = "mean of the larger ROUGE-L recall of the two ways to ask"
    gain = "rise of exp(-token loss) on forget examples by relearning others"
    reworded = ("rougeL_recall",)
    return [
        *rows,
        Metric(
            "any_prompt_rouge", worst, "share", "retrained", "forget_paraphrased", reworded, measure.any_prompt
        ),
        Metric("relearned_gain", gain, "share", "retrained", "forget_relearned", ("prob",), measure.gain),
    ]  # fmt: skip


def _muse_and_wmdp() -> list[Metric]:
    rows: tuple[tuple[str, str, Better, str], ...] = (
        ("verbmem", "forget_verbmem", "retrained", "continuing forget texts"),
        ("knowmem_forget", "forget_knowmem", "retrained", "questions on the forget texts"),
        ("knowmem_retain", "retain_knowmem", "higher", "questions on the retain texts"),
    )
    return [
        *(
            _mean(name, f"mean ROUGE-L F1, {what}", better, group, "rougeL_f1", f"{group}_ROUGE")
            for name, group, better, what in rows
        ),
        Metric(
            "choice_accuracy", "share of questions whose right option is the likeliest continuation", "share", "lower",
            "choices", ("nll",), measure.choices,
        ),
    ]  # fmt: skip


METRICS: tuple[Metric, ...] = (*_forget(), *_membership(), *_utility(), *_robustness(), *_muse_and_wmdp())
