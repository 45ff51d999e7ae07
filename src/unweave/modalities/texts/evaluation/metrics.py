"""The sheet's rows: each metric and what it reads. A table, no code of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from unweave.evaluation.evidence import Metric, Right
from unweave.evaluation.value import Measurement
from unweave.modalities.texts.evaluation import described as say
from unweave.modalities.texts.evaluation import measure
from unweave.modalities.texts.evaluation.attacks import ATTACKS
from unweave.modalities.texts.evaluation.log import Log


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        metric: what the number is.
        group: the set it reads.
        columns: of these it needs one at least to be listed.
        value: reads it from a log and, where there is one, the retrained model's log.
        published: its key in open-unlearning's files.
    """

    metric: Metric
    group: str
    columns: tuple[str, ...]
    value: Callable[[Log, Log | None], Measurement]
    published: str = ""

    @property
    def name(self) -> str:
        """The metric's."""
        return self.metric.name


def _mean(name: str, group: str, column: str, published: str = "", right: Right = "as null") -> Row:
    read = partial(measure.column, group, column)
    return _of(say.mean_of(name, group, column, right), group, (column,), read, published)


def _of(metric: Metric, group: str, columns: tuple[str, ...], read: measure.Read, published: str = "") -> Row:
    """The mean of what is read of a set."""
    return Row(metric, group, columns, partial(measure.mean, group, read), published)


def _forget() -> list[Row]:
    group, losses = "forget", ("paraphrased_loss", "truth_ratio")
    ratio = say.truth_ratio("forget_truth_ratio", group, f"mean of min(R, 1/R), {say.RATIO}")
    share = say.truth_ratio("forget_truth_share", group, f"mean of 1 / (1 + R), {say.RATIO}")
    read = partial(measure.truth, group)
    return [
        _mean("forget_probability", group, "prob", "forget_Q_A_Prob"),
        _mean("forget_rouge", group, "rougeL_recall", "forget_Q_A_ROUGE"),
        _of(ratio, group, losses, partial(read, "indistinguishable"), "forget_truth_ratio"),
        _of(share, group, losses, partial(read, "true_share")),
        Row(say.FORGET_QUALITY, group, losses, measure.quality, "forget_quality"),
        Row(say.KS_DISTANCE, group, losses, measure.distance),
        _mean("extraction_strength", group, "extraction", "extraction_strength"),
        _mean("exact_memorisation", group, "exact", "exact_memorization"),
    ]


def _membership() -> list[Row]:
    rows = []
    for name in ATTACKS:
        columns = ("mia_loss", f"mia_{name}") if name == "reference" else (f"mia_{name}",)
        rows.append(Row(say.attack(name), "holdout", columns, partial(measure.attack, name), f"mia_{name}"))
    return [*rows, Row(say.PRIVLEAK, "holdout", ("mia_min_k",), measure.leak, "privleak")]


def _utility() -> list[Row]:
    losses, options = ("paraphrased_loss", "truth_ratio", "perturbed_loss"), ("option_prob", "perturbed_prob")
    rows: list[Row] = []
    terms: list[tuple[str, measure.Read]] = []
    for short, group in (("retain", "retain"), ("ra", "real_authors"), ("wf", "world_facts")):
        likely = partial(measure.column, group, "prob") if group == "retain" else partial(measure.options, group)
        better = partial(measure.truth, group, "true_better")
        terms += [(group, likely), (group, partial(measure.column, group, "rougeL_recall")), (group, better)]
        if group == "retain":
            rows.append(_mean("retain_probability", group, "prob", "retain_Q_A_Prob", "higher"))
        else:
            among = say.options(f"{group}_probability", group)
            rows.append(_of(among, group, options, likely, f"{short}_Q_A_Prob_normalised"))
        ratio = say.truth_ratio(f"{group}_truth_ratio", group, "mean of max(0, 1 - R), R as above", "higher")
        rows.append(_mean(f"{group}_rouge", group, "rougeL_recall", f"{short}_Q_A_ROUGE", "higher"))
        rows.append(_of(ratio, group, losses, better, f"{short}_Truth_Ratio"))
    whole = say.utility(row.name for row in rows)
    read_all = partial(measure.utility, tuple(terms))
    return [Row(whole, "world_facts", ("prob", "option_prob"), read_all, "model_utility"), *rows]


def _robustness() -> list[Row]:
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
        Row(say.ANY_PROMPT, "forget_paraphrased", ("rougeL_recall",), measure.any_prompt),
        Row(say.GAIN, "forget_relearned", ("prob",), measure.gain),
    ]


def _muse_and_wmdp() -> list[Row]:
    rows: tuple[tuple[str, str, Right], ...] = (
        ("verbmem", "forget_verbmem", "as null"),
        ("knowmem_forget", "forget_knowmem", "as null"),
        ("knowmem_retain", "retain_knowmem", "higher"),
    )
    return [
        *(_mean(name, group, "rougeL_f1", f"{group}_ROUGE", right) for name, group, right in rows),
        Row(say.CHOICE_ACCURACY, "choices", ("nll",), measure.choices),
    ]


ROWS: tuple[Row, ...] = (*_forget(), *_membership(), *_utility(), *_robustness(), *_muse_and_wmdp())
SHEET = {row.name: row.metric for row in ROWS}
"""What each score is, by name."""
DISTANCE = (
    *("forget_probability", "forget_rouge", "forget_truth_ratio", "extraction_strength", "mia_loss"),
    *("paraphrased_prompt_rouge", "relearned_probability", "model_utility", "retain_probability", "retain_rouge"),
    *("verbmem", "knowmem_forget", "knowmem_retain", "choice_accuracy"),
)
"""What the distance to a retrained model is formed of: those of them that both models have."""
