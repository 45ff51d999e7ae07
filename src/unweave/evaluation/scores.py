"""A classifier's sheet: every score, what it is and what forms it. Files, pages and `unweave metrics` read it here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from unweave.evaluation.intervals import mean_interval, share
from unweave.evaluation.membership import Attacked
from unweave.evaluation.metric import Measurement, Metric, Right, Row, Score, finite, formed
from unweave.evaluation.outputs import Classifier, Data, Outputs, Splits, predict
from unweave.evaluation.values import sheet
from unweave.tasks import Task

_SALUN = "Fan et al. (SalUn), ICLR 2024"
_CARLINI = "Carlini et al., IEEE S&P 2022"
_RETRAINED = "what a model retrained without the forget set scores; nothing else is right"
_KEPT = "the original's, but for what the forget set taught of the others"
_EXCHANGEABLE = "1/2 where the two sets are exchangeable; otherwise what a retrained model scores"
_RARE = "1 % where the two sets are exchangeable"
_FEW = "fewer than 20 forget or 1000 unseen examples, or a NaN"
_INFINITE = "no examples, or a loss that is not finite"
_TEST = "test set, without a class that is forgotten whole"
_HOLDOUT = "unseen examples that are exchangeable with the forget set: of its class, where one is forgotten whole"


def accuracy(outputs: Outputs, name: str = "forget") -> Measurement:
    """Share of examples whose largest logit is the label's, with its Clopper-Pearson interval.

    Raises:
        UndefinedScore: no examples, or a NaN among the logits.
    """
    correct = finite(outputs.correct, name)
    return share(int(correct.sum()), len(correct))


def error_rate(outputs: Outputs, name: str = "forget") -> Measurement:
    """1 - accuracy, as `accuracy`."""
    correct = finite(outputs.correct, name)
    return share(len(correct) - int(correct.sum()), len(correct))


def loss(outputs: Outputs, name: str = "forget", seed: int = 0) -> Measurement:
    """Mean of -log p_y over the examples, with its percentile-bootstrap interval.

    Raises:
        UndefinedScore: no examples, or a loss that is not finite.
    """
    nll = finite(outputs.nll, name)
    return Measurement(float(nll.mean()), *mean_interval(nll, seed=seed), n=len(nll))


_Form = Callable[[Attacked], Measurement]
_Row = Row[[Attacked]]


def _share(
    name: str,
    plain: str,
    of: str,
    form: _Form,
    exact: str = _RETRAINED,
    right: Right = "as null",
    margin: float | None = None,
) -> _Row:
    about = "labelled examples", "no example, or a NaN", _SALUN, exact, plain
    return Row(Metric(name, of, "share", right, (0, 1), "example", *about), form, margin=margin)


def _loss(name: str, plain: str, of: str, form: _Form, exact: str = _RETRAINED, right: Right = "as null") -> _Row:
    of, about = f"mean of -log p_y over the {of}", ("labelled examples", _INFINITE, "", exact, plain)
    return Row(Metric(name, of, "nats", right, (0, math.inf), "example", *about), form)


def _attack(
    name: str,
    plain: str,
    of: str,
    form: _Form,
    undefined: str,
    source: str,
    exact: str,
    needs: str = _HOLDOUT,
    margin: float | None = None,
) -> _Row:
    metric = Metric(name, of, "share", "as null", (0, 1), "example", needs, undefined, source, exact, plain)
    return Row(metric, form, margin=margin)


ROWS: tuple[_Row, ...] = (
    _share(
        "UA",
        "wrong on the data to forget",
        "1 - accuracy on the forget set",
        lambda of: error_rate(of.splits.forget),
        margin=1.0,
    ),
    _share("FA", "right on the data to forget", "accuracy on the forget set", lambda of: accuracy(of.splits.forget)),
    _share(
        "RA",
        "right on the data to keep",
        "accuracy on the retain set",
        lambda of: accuracy(of.splits.retain, "retain"),
        margin=0.5,
    ),
    _share(
        "TA",
        "right on unseen data",
        f"accuracy on the {_TEST}",
        lambda of: accuracy(of.splits.kept_test, "test"),
        _KEPT,
        "higher",
        margin=1.0,
    ),
    _loss(
        "forget_loss",
        "mean error on the data to forget",
        "forget set",
        lambda of: loss(of.splits.forget, seed=of.seed),
    ),
    _loss(
        "retain_loss",
        "mean error on the data to keep",
        "retain set",
        lambda of: loss(of.splits.retain, "retain", of.seed),
    ),
    _loss(
        "test_loss",
        "mean error on unseen data",
        _TEST,
        lambda of: loss(of.splits.kept_test, "test", of.seed),
        _KEPT,
        "lower",
    ),
    replace(
        _share(
            "TA_forgotten",
            "right on unseen data of the forgotten class",
            "accuracy on test examples of the class that is forgotten whole",
            lambda of: accuracy(of.splits.forgotten_test, "test"),
            "0",
        ),
        there=lambda of: len(of.splits.forgotten) > 0,
    ),
    _attack(
        "MIA_AUC",
        "told from unseen data by an attack",
        "P(a forget example has the lower loss than an unseen one) + P(equal) / 2",
        Attacked.loss_auc,
        "fewer than 20 examples on a side, or a NaN",
        "interval: Efron and Tibshirani (1993)",
        _EXCHANGEABLE,
        margin=2.0,
    ),
    _attack(
        "MIA_TPR",
        "surely told as trained on, by the error",
        "share of the forget set below the loss that 1 % of one half of the unseen examples are below",
        partial(Attacked.loss_tail, side=0),
        _FEW,
        _CARLINI,
        _RARE,
    ),
    _attack(
        "MIA_FPR",
        "unseen data taken for trained on",
        "share of the other half of the unseen examples below the threshold of MIA_TPR",
        partial(Attacked.loss_tail, side=1),
        _FEW,
        _CARLINI,
        "1 %, whatever the model",
    ),
    _attack(
        "MIA_confidence",
        "called not trained on by a trained attacker",
        "share of the forget set that a support vector machine on p_y, retain against test, calls non-member",
        Attacked.called_non_member,
        "fewer than 20 examples in a set",
        _SALUN,
        "no constant: between 0 and 1 by how far the model is fitted; compare with a retrained one",
        needs="retain and test examples",
    ),
    _attack(
        "MIA_confidence_AUC",
        "told from unseen data by a trained attacker",
        "P(that machine's decision value is higher on a forget example than on an unseen one) + P(equal) / 2; it was "
        "trained on neither",
        Attacked.confidence_auc,
        "fewer than 20 examples in a set, or a NaN",
        _SALUN,
        _EXCHANGEABLE,
    ),
    _attack(
        "MIA_confidence_TPR",
        "surely told as trained on, by a trained attacker",
        "share of the forget set above the decision value that 1 % of one half of unseen examples are above, which the "
        "machine was not trained on",
        Attacked.confidence_tail,
        _FEW,
        _SALUN,
        _RARE,
    ),
)
"""In the order of every table; a score is added here and nowhere else."""

SHEET = {row.name: row.metric for row in ROWS}
"""What each score is, by name, as in `scores.json`."""
MARGINS = {row.name: row.margin for row in ROWS if row.margin is not None}
"""What the distance to a retrained model is formed of, and the points of it that do not matter."""


def score(
    model: nn.Module,
    task: Task,
    *,
    forget: Data,
    retain: Data,
    test: Data,
    batch_size: int = 512,
    seed: int = 0,
) -> dict[str, Score]:
    """Every metric of one model by name: UA, FA, RA, TA, the mean losses and the membership attacks.

    Of a task without logits (`MultiLabel`, `Regression`, `Dense`, one of your own): the mean of its loss and of its
    other `values` on each set, and the AUC of its membership signal (`values.sheet`).

    One inference pass over each set; the model and torch's random state stay as they are. A number that these
    data cannot give has the value None and a reason.

    Args:
        model: a trained module.
        task: what it does.
        forget: what the model should have lost, with the labels that it was trained on.
        retain: what it should have kept.
        test: examples of the same distribution that it was never trained on.
        batch_size: of the inference passes.
        seed: of the bootstrap and of the attacker's sample.

    Raises:
        ConfigurationError: a set is empty, or has labels that the model does not know.
    """
    sets = {"forget": forget, "retain": retain, "test": test}
    if not isinstance(task, Classifier):
        return sheet(model, task, sets, batch_size=batch_size, seed=seed)
    outputs = {name: predict(model, task, x, batch_size=batch_size, name=name) for name, x in sets.items()}
    return score_outputs(**outputs, seed=seed)


def score_outputs(forget: Outputs, retain: Outputs, test: Outputs, *, seed: int = 0) -> dict[str, Score]:
    """`score` from outputs that are already there."""
    return formed(ROWS, Attacked(Splits(forget, retain, test), seed))
