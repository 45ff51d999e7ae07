"""Accuracy and mean loss on the forget, retain and test sets."""

from __future__ import annotations

from functools import partial

from unweave.evaluation.intervals import mean_interval, proportion_interval
from unweave.evaluation.outputs import Outputs, Splits
from unweave.evaluation.value import Measurement, Score, finite, measured


def accuracy_scores(splits: Splits, *, seed: int = 0) -> list[Score]:
    """UA = 1 - Acc(forget), FA, RA, TA in shares and the mean loss on each set in nats.

    When a request removes a class whole, TA and the test loss leave that class out (no retrained model knows
    it); its test examples are reported as `TA_forgotten`, the check that UA generalises.
    """
    whole = len(splits.forgotten) > 0
    test_set = "test set without the forgotten class" if whole else "test set"
    sets = [
        ("forget", "forget set", splits.forget),
        ("retain", "retain set", splits.retain),
        ("test", test_set, splits.kept_test),
    ]
    scores = [measured("UA", "1 - accuracy on the forget set", "share", partial(error_rate, splits.forget))]
    for name, description, outputs in sets:
        of = f"accuracy on the {description}"
        scores.append(measured(f"{name[0].upper()}A", of, "share", partial(accuracy, outputs, name)))
    for name, description, outputs in sets:
        of = f"mean of -log p_y over the {description}"
        scores.append(measured(f"{name}_loss", of, "nats", partial(loss, outputs, name, seed)))
    if whole:
        of = "accuracy on the test examples of the forgotten class"
        scores.append(measured("TA_forgotten", of, "share", partial(accuracy, splits.forgotten_test, "test")))
    return scores


def accuracy(outputs: Outputs, name: str = "forget") -> Measurement:
    """Share of examples whose largest logit is the label's, with its Clopper-Pearson interval.

    Raises:
        UndefinedScore: no examples, or a NaN among the logits.
    """
    correct = finite(outputs.correct, name)
    return share(int(correct.sum()), len(correct))


def error_rate(outputs: Outputs, name: str = "forget") -> Measurement:
    """1 - accuracy, with its Clopper-Pearson interval.

    Raises:
        UndefinedScore: as for `accuracy`.
    """
    correct = finite(outputs.correct, name)
    return share(len(correct) - int(correct.sum()), len(correct))


def loss(outputs: Outputs, name: str = "forget", seed: int = 0) -> Measurement:
    """Mean of -log p_y over the examples, with its percentile-bootstrap interval.

    Raises:
        UndefinedScore: no examples, or a loss that is not finite.
    """
    nll = finite(outputs.nll, name)
    return Measurement(float(nll.mean()), len(nll), *mean_interval(nll, seed=seed))


def share(successes: int, n: int) -> Measurement:
    """A proportion with its Clopper-Pearson interval."""
    return Measurement(successes / n, n, *proportion_interval(successes, n))
