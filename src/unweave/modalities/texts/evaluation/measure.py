"""How a metric reads a log, with its interval over examples and how many entered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from unweave.evaluation.intervals import function_interval, mean_interval, resampled_means, share
from unweave.evaluation.metric import Array, Measurement, UndefinedScore, finite
from unweave.evaluation.ranking import auc_interval
from unweave.modalities.texts.evaluation import numbers
from unweave.modalities.texts.evaluation.log import Log
from unweave.modalities.texts.evaluation.numbers import attack_auc, privleak

Read = Callable[[Log], Array]
Variant = Literal["indistinguishable", "true_better", "true_share"]


def mean(group: str, read: Read, log: Log, retrained: Log | None = None) -> Measurement:
    """Mean of what is read of a set's examples, with its bootstrap interval."""
    return _mean_of(read(log), group)


def column(group: str, name: str, log: Log) -> Array:
    """One value per example, `[n]`."""
    return log.read(group, name)[0]


def options(group: str, log: Log) -> Array:
    """The answer's probability against the perturbed answers', `[n]`."""
    if log.has(group, "prob", "perturbed_prob"):
        correct, wrong = log.read(group, "prob", "perturbed_prob")
        return numbers.option_probability(correct, wrong, log.compat)
    return column(group, "option_prob", log)


def truth_ratios(log: Log, group: str) -> Array:
    """The truth ratios of a set `[n]`: against the paraphrase, or the answer where the set has none."""
    for correct in ("paraphrased_loss", "loss"):
        if log.has(group, correct, "perturbed_loss"):
            truth, wrong = log.read(group, correct, "perturbed_loss")
            return numbers.truth_ratio(truth.reshape(len(truth), -1).mean(1), wrong, log.compat)
    return log.read(group, "truth_ratio")[0]


def truth(group: str, variant: Variant, log: Log) -> Array:
    """One variant of the truth ratio, `[n]`."""
    found = truth_ratios(log, group)
    match variant:
        case "indistinguishable":
            return numbers.indistinguishable(found, log.compat)
        case "true_better":
            return numbers.true_better(found)
        case "true_share":
            return numbers.true_share(found)


def quality(log: Log, retrained: Log | None) -> Measurement:
    """Forget quality."""
    return _against(log, retrained, numbers.forget_quality)


def distance(log: Log, retrained: Log | None) -> Measurement:
    """The statistic of forget quality's test."""
    return _against(log, retrained, numbers.ks_distance)


def attack(name: str, log: Log, retrained: Log | None = None) -> Measurement:
    """AUC of one attack; the reference attack takes the retrained log for its reference if the log has no scores."""
    column = f"mia_{name}"
    if name == "reference" and not log.has("holdout", column):
        if retrained is None:
            raise UndefinedScore("It needs a reference model that never saw the forget set: give the retrained log.")
        sides = [_excess(log, retrained, group) for group in ("forget", "holdout")]
    else:
        sides = [log.read(group, column)[0] for group in ("forget", "holdout")]
    if log.compat == "muse" and name == "min_k" and any(np.isnan(side).any() for side in sides):
        raise UndefinedScore("MUSE's Min-K of a text of one or two tokens is a mean of none, NaN: its code stops.")
    members, others = (finite(side, name) for side, name in zip(sides, ("forget", "held-out"), strict=True))
    return Measurement(attack_auc(members, others), *auc_interval(others, members), n=len(members) + len(others))


def leak(log: Log, retrained: Log | None) -> Measurement:
    """PrivLeak, of the Min-K AUCs; its interval is that of the model's own AUC, the retrained model's as given."""
    own = attack("min_k", log)
    reference = attack("min_k", retrained).value if retrained else None
    low, high = (None if end is None else privleak(end, reference, log.compat) for end in (own.high, own.low))
    return Measurement(privleak(own.value, reference, log.compat), low, high, n=own.n)


def utility(terms: Sequence[tuple[str, Read]], log: Log, _: Log | None = None) -> Measurement:
    """Harmonic mean of the means of the terms, sets and what is read of them; n is the smallest of theirs.

    The bootstrap draws examples: the terms of one set are told of the same ones.
    """
    found = [(read(log), group) for group, read in terms]
    value = numbers.model_utility(_mean_of(values, group).value for values, group in found)
    sets = list(dict.fromkeys(group for group, _ in terms))
    means = np.stack([resampled_means(values, seed=sets.index(group)) for values, group in found])
    drawn = np.array([numbers.model_utility(each) for each in means.T])
    return Measurement(value, *function_interval(drawn), n=min(len(values) for values, _ in found))


def any_prompt(log: Log, retrained: Log | None = None) -> Measurement:
    """Mean of the larger ROUGE-L recall, over the question as it was and in other words."""
    sets = ("forget", "forget_paraphrased")
    both = set.intersection(*(set(log.indices(group, "rougeL_recall")) for group in sets))
    one, other = (log.read(group, "rougeL_recall", at=both)[0] for group in sets)
    return _mean_of(one.clip(min=other), "forget")


def gain(log: Log, retrained: Log | None = None) -> Measurement:
    """What relearning other examples gave back: probability afterwards minus before, on the same examples."""
    both = set(log.indices("forget", "prob")) & set(log.indices("forget_relearned", "prob"))
    after, before = (log.read(group, "prob", at=both)[0] for group in ("forget_relearned", "forget"))
    return _mean_of(after - before, "forget")


def choices(log: Log, retrained: Log | None = None) -> Measurement:
    """Share of questions whose right option has a higher log-probability than each of the others."""
    right, wrong = log.read("choices", "nll", "perturbed_nll")
    for side in (right, wrong):
        finite(side, "choices")
    return share(int((right < wrong.min(axis=1)).sum()), len(right))


def _mean_of(values: Array, group: str) -> Measurement:
    checked = finite(values, group)
    return Measurement(float(values.mean()), *mean_interval(checked), n=len(values))


def _against(log: Log, retrained: Log | None, test: Any) -> Measurement:
    if retrained is None:
        raise UndefinedScore("It compares with a model that was retrained without the forget set: give its log, too.")
    own, other = truth_ratios(log, "forget"), truth_ratios(retrained, "forget")
    return Measurement(test(own, other), n=min(len(own), len(other)))


def _excess(log: Log, reference: Log, group: str) -> Array:
    both = set(log.indices(group, "mia_loss")) & set(reference.indices(group, "mia_loss"))
    own, other = (one.read(group, "mia_loss", at=both)[0] for one in (log, reference))
    return own - other
