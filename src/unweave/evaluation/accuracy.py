"""Accuracy and mean loss of a classifier on a set, with their intervals."""

from __future__ import annotations

from unweave.evaluation.intervals import mean_interval, proportion_interval
from unweave.evaluation.outputs import Outputs
from unweave.evaluation.value import Measurement, finite


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
