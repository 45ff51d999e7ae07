"""When a run of the comparison ends: the same rule for every method, read every few steps, and no contract."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from unweave.errors import ConfigurationError
from unweave.evaluation import UndefinedScore, auc, predict
from unweave.evaluation.outputs import Classifier, Data
from unweave.loop import Record, Stop

EVERY = 5  # steps between two looks


def forget_accuracy(model: nn.Module, task: Classifier, forget: Data, at_most: float, every: int = EVERY) -> Stop:
    """Enough when the accuracy on the forget set is at most `at_most`.

    Args:
        model: the model that is being unlearned.
        task: a classification task.
        forget: the forget set, read in evaluation mode.
        at_most: in [0, 1], for example the accuracy of a retrained model.
        every: steps between two looks.

    Raises:
        ConfigurationError: `at_most` is not in [0, 1].
    """
    if not 0 <= at_most <= 1:
        raise ConfigurationError(f"at_most must be an accuracy in [0, 1]; found {at_most}.")

    def reached() -> str | None:
        found = float(predict(model, task, forget, name="forget").correct.mean())
        return f"target reached: forget accuracy {found:.3f} <= {at_most:.3f}" if found <= at_most else None

    return _look(reached, every)


def membership(
    model: nn.Module, task: Classifier, forget: Data, holdout: Data, at_most: float = 0.5, every: int = EVERY
) -> Stop:
    """Enough when the loss-threshold attack cannot tell the forget set from held-out data.

    That is, when the AUC of "the forget example has the lower loss" is at most `at_most`; 0.5 is an even draw.

    Args:
        model: the model that is being unlearned.
        task: a classification task.
        forget: the forget set.
        holdout: examples of the same kind that the model was never trained on.
        at_most: the AUC, in [0, 1].
        every: steps between two looks.
    """

    def reached() -> str | None:
        inside, outside = (predict(model, task, data, name=n) for data, n in ((forget, "forget"), (holdout, "holdout")))
        found = auc(inside.margin, outside.margin)
        return f"target reached: membership AUC {found:.3f} <= {at_most:.3f}" if found <= at_most else None

    return _look(reached, every)


def _look(reached: Callable[[], str | None], every: int) -> Stop:
    def looked(record: Record) -> str | None:
        if record.number % every:
            return None
        try:
            return reached()
        except UndefinedScore as undefined:
            return f"diverged: {undefined}"

    return looked
