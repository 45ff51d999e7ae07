"""One call for every number of a classification model: the sheet that `scores.json` holds."""

from __future__ import annotations

from functools import partial

from torch import nn

from unweave.evaluation.membership import Attacked
from unweave.evaluation.outputs import Classifier, Data, Outputs, Splits, predict
from unweave.evaluation.sheet import ROWS
from unweave.evaluation.value import Score


def score(
    model: nn.Module,
    task: Classifier,
    *,
    forget: Data,
    retain: Data,
    test: Data,
    batch_size: int = 512,
    seed: int = 0,
) -> dict[str, Score]:
    """Every metric of one model by name: UA, FA, RA, TA, the mean losses and the membership attacks.

    One inference pass over each set; the model and torch's random state stay as they are. A number that these
    data cannot give has the value None and a reason.

    Args:
        model: a classifier.
        task: turns model and batch into logits, as `Classification` does.
        forget: what the model should have lost, with the labels that it was trained on.
        retain: what it should have kept.
        test: examples of the same distribution that it was never trained on.
        batch_size: of the inference passes.
        seed: of the bootstrap and of the attacker's sample.

    Raises:
        ConfigurationError: a set is empty, or has labels that the model does not know.
        UnsupportedError: the task has no logits.
    """
    sets = {"forget": forget, "retain": retain, "test": test}
    outputs = {name: predict(model, task, x, batch_size=batch_size, name=name) for name, x in sets.items()}
    return score_outputs(**outputs, seed=seed)


def score_outputs(forget: Outputs, retain: Outputs, test: Outputs, *, seed: int = 0) -> dict[str, Score]:
    """`score` from outputs that are already there."""
    seen = Attacked(Splits(forget, retain, test), seed)
    rows = [row for row in ROWS if not row.whole or len(seen.splits.forgotten)]
    return {row.name: row.metric.score(partial(row.form, seen)) for row in rows}
