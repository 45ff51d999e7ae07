"""Of what a model answered, the values of single images and examples that scores are formed of."""

from __future__ import annotations

import numpy as np

from unweave.evaluation.intervals import mean_interval
from unweave.evaluation.metric import Array, Measurement, whole
from unweave.evaluation.ranking import FEWEST, Ranking
from unweave.modalities.diffusion.evaluation.exam import Answers


def of_a_class(of: Answers) -> bool:
    """Whether the request names classes to forget."""
    return len(of.asked) > 0


def judged(of: Answers) -> bool:
    """Whether somebody looked at what was drawn."""
    return len(of.wanted) > 0


def log_p(logits: Array) -> Array:
    """Of the judge, `[n, classes]`.

    Raises:
        UndefinedScore: there are none, or one is not finite.
    """
    from scipy.special import log_softmax

    return np.asarray(log_softmax(whole(logits, "answers of the judge", axes=2), axis=1))


def missed(of: Answers) -> Array:
    """Of each image asked for as a class to forget: 1 where the judge calls it something else."""
    return (log_p(of.forgotten).argmax(1) != of.asked).astype(np.float64)


def recognised(of: Answers) -> Array:
    """Of each image asked for as a class to keep: 1 where the judge calls it that."""
    return (log_p(of.kept).argmax(1) == of.wanted).astype(np.float64)


def losses(of: Answers, name: str) -> Array:
    """The denoising loss of each example of a set.

    Raises:
        UndefinedScore: one is not finite.
    """
    return whole(of.losses[name], f"{name} losses", axes=1)


def mean_of(values: Array, seed: int) -> Measurement:
    """Their mean with its bootstrap interval."""
    return Measurement(float(values.mean()), *mean_interval(values, seed=seed), "bootstrap", n=len(values))


def ranking(of: Answers) -> Ranking:
    """Forget examples against unseen ones, by what a membership attack reads.

    Raises:
        UndefinedScore: too few on a side, or one that is not finite.
    """
    members, others = of.scores
    sides = (members, "forget examples"), (others, "unseen examples")
    first, second = (whole(scores, what, axes=1, at_least=FEWEST) for scores, what in sides)
    return Ranking([(first, second)])
