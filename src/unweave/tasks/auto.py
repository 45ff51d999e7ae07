"""Which task a model does, guessed from a few examples and what it makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from unweave.data.batches import Batch, answered
from unweave.devices import finest
from unweave.errors import ConfigurationError
from unweave.tasks._base import Task
from unweave.tasks._calls import OWN, output, parts
from unweave.tasks.classification import Classification
from unweave.tasks.dense import Dense
from unweave.tasks.language import IGNORED, Language
from unweave.tasks.multilabel import MultiLabel
from unweave.tasks.regression import Regression

_TWO = 3  # answers at most, of which two values say nothing
_SAY = "Say which it is: task='classification', 'multilabel', 'regression', 'dense' or 'language'"


@torch.no_grad()
def guessed(model: nn.Module, batches: Sequence[Batch]) -> Task:
    """The task that answers, and what the model makes of the first batch, fit.

    | answers | the model returns | task |
    |---|---|---|
    | tokens `[b, t]` that are the input_ids | `[b, t, V]` | `Language` |
    | classes `[b]` or `[b, 1]` | `[b, C]`, C at least 2 | `Classification` |
    | 0 and 1 alone, `[b]` or `[b, 1]` | `[b]` or `[b, 1]` | `Classification` |
    | floats of more than two values, `[b]`, `[b, k]` | as many | `Regression`, its scale estimated on all batches |
    | 0 and 1 alone, `[b, k]`, not one-hot | `[b, k]` | `MultiLabel` |
    | classes `[b, places]` | `[b, C, places]`, `[b, places, C]` | `Dense` |

    Anything else that a classifier's checks know what to say of is left to them: a batch without answers, a model that
    cannot be asked, one-hot labels, integers where one number is predicted (classes that do not fit, or counts?).

    Args:
        model: in evaluation mode.
        batches: on its device.

    Raises:
        ConfigurationError: several tasks fit, or none.
    """
    try:
        answers = [pair[1] for pair in map(answered, batches) if pair is not None]
        batch = next(iter(batches))
        found = output(model, batch, "auto")
    except Exception:  # whatever it is, the checks meet it too, and say of which side it is
        return Classification()
    if not all(isinstance(each, Tensor) and each.ndim and not each.is_complex() for each in answers):
        return Classification()
    answer = answers[0]
    if found.ndim == 3 and _are_tokens(batch, answer):
        if isinstance(batch, Mapping) and "input_ids" in batch:
            return Language()
        raise ConfigurationError(
            f"task='auto': the answers {list(answer.shape)} are the inputs themselves. If this is a causal language "
            "model, whose predictions are of the tokens that come next, give mappings with input_ids, attention_mask "
            "and labels; if it predicts the class of each place pass task='dense'."
        )
    column = answer.ndim == 1 or (answer.ndim == 2 and answer.shape[1] == 1)
    if len(found) != len(answer) or (column and found.ndim > 2):
        return Classification()
    binary = all(bool(((each == 0) | (each == 1) | (each == MultiLabel.IGNORED)).all()) for each in answers)
    whole = not answer.is_floating_point()
    if column:
        if found.numel() != len(found) or binary or whole:
            return Classification()
        _ask_of_two(answers, "classification")
        return Regression.fitted(model, batches)
    if found.shape == answer.shape and answer.ndim == 2:
        if not binary:
            return Classification() if whole else _amounts(model, batches, answers)
        one_hot = all(bool((each.sum(1) == 1).all()) for each in answers)
        return Classification() if one_hot else MultiLabel()
    if found.shape == answer.shape and answer.shape[1] > 1 and all(bool((each.sum(1) == 1).all()) for each in answers):
        raise ConfigurationError(
            f"task='auto': every place of the answers {list(answer.shape)} has one 1 along dimension 1, as one-hot "
            "classes have. If they are that give their indices, answers.argmax(1); else pass task='dense'."
        )
    if found.shape == answer.shape and whole and not all(bool(_masked(each).all()) for each in answers):
        raise ConfigurationError(
            f"task='auto': the model gives one number for each of the answers {list(answer.shape)} of {answer.dtype}. "
            "If these are amounts, such as pixels, pass task='regression'; if they are classes it must return a logit "
            "for each class."
        )
    if (whole or binary) and found.ndim >= answer.ndim:
        return Dense()
    raise ConfigurationError(
        f"task='auto': nothing fits answers {list(answer.shape)} of {answer.dtype} and predictions "
        f"{list(found.shape)}. {_SAY}, or pass {OWN}."
    )


def _masked(answer: Tensor) -> Tensor:
    """Where a label is one of a mask of two classes: 0 and 1, or 255, as files have them, or none."""
    return (answer == 0) | (answer == 1) | (answer == 255) | (answer == IGNORED)


def _ask_of_two(answers: Sequence[Tensor], classes: str) -> None:
    """Refuses to take for amounts what has two values alone: -1 and 1, .05 and .95."""
    values = torch.cat([each.flatten() for each in answers])
    if len(found := values.unique()) == 2 and len(values) > _TWO:
        raise ConfigurationError(
            f"task='auto': all {len(values)} answers are {found[0]:.4g} or {found[1]:.4g}. If these are two classes "
            f"give them as 0 and 1, task={classes!r}; if they are amounts pass task='regression'; if they are smoothed "
            f"labels pass {OWN} whose nll is the cross-entropy with them."
        )


def _amounts(model: nn.Module, batches: Sequence[Batch], answers: Sequence[Tensor]) -> Task:
    """Several numbers of each example: amounts, unless they look like probabilities of classes, or like labels."""
    answer = answers[0]
    if bool((answer >= 0).all()) and bool(((finest(answer).sum(1) - 1).abs() < 1e-3).all()):
        raise ConfigurationError(
            f"task='auto': every row of the answers {list(answer.shape)} sums to 1: they may be probabilities of "
            f"classes. If they are amounts pass task='regression', else {OWN} whose nll is the cross-entropy with them."
        )
    _ask_of_two(answers, "multilabel")
    return Regression.fitted(model, batches)


def _are_tokens(batch: Batch, answer: Tensor) -> bool:
    """Whether the answers are the tokens that stand there, as a causal language model's are."""
    ids = parts(batch, "auto")[0]
    if isinstance(ids, Mapping):
        ids = ids.get("input_ids", next(iter(ids.values()), None))
    if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.shape != answer.shape:
        return False
    asked = answer != IGNORED
    return bool(asked.any()) and bool((answer == ids)[asked].all())
